"""Turns what obstore raises into the project's errors.

Invariant: of its text, which ends with pages of the client's innards, messages show the reason.
"""

from __future__ import annotations

import re

from obstore.exceptions import (
    AlreadyExistsError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from mishards.core.errors import DiskFull, ObjectNotFound, StorageError

_CODE = re.compile(r"<Code>(\w+)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")
_STATUS = re.compile(r"status code: (\d{3})")
_KIND = re.compile(r"HttpError \{\s*kind: (\w+)")
_CAUSE = re.compile(r'(?:message|error): "([^"]+)"|InvalidCertificate\(\s*(\w+)')
_REFUSED = (PermissionDeniedError, UnauthenticatedError)
_NO_SPACE = {
    "InsufficientCapacity",
    "InsufficientStorage",
    "QuotaExceeded",
    "StorageFull",
    "XMinioStorageFull",
}


def storage_error(doing: str, error: Exception) -> StorageError | DiskFull:
    """The error to raise for what obstore raised while `doing` something.

    `ObjectNotFound` where the object, and not the bucket, is missing; `DiskFull` where the store
    says that it has no space; else `StorageError`, which is retriable.
    """
    text = str(error)
    code, status = _first(_CODE, text), _first(_STATUS, text)
    reason = _reason(error, text, code, status)
    if isinstance(error, FileNotFoundError) and code != "NoSuchBucket":
        return ObjectNotFound(f"{doing}: it does not exist")
    if code in _NO_SPACE or status == "507":
        return DiskFull(f"no space left while {doing}: {reason}")
    return StorageError(f"{doing} failed: {reason}")


def is_taken(error: Exception) -> bool:
    """Whether the store refused a conditional put: the object exists, or someone else's request
    was under way."""
    return isinstance(error, AlreadyExistsError | PreconditionError)


def is_refused(error: Exception) -> bool:
    """Whether the store certainly did nothing, and would do nothing when it was asked again."""
    return isinstance(error, (*_REFUSED, FileNotFoundError))


def _reason(error: Exception, text: str, code: str, status: str) -> str:
    if isinstance(error, TimeoutError):
        return text
    if code:
        return f"{status} {code} {_first(_MESSAGE, text)}".strip()
    if status:
        return f"the store answers {status}"
    kind = _first(_KIND, text)
    if not kind:
        return text.partition("\n")[0].rpartition(" - ")[2] or type(error).__name__
    causes = _CAUSE.findall(text)
    cause = next(filter(None, causes[-1])) if causes else f"{kind} error"
    return f"cannot connect: {cause}" if kind == "Connect" else f"connection broken: {cause}"


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""
