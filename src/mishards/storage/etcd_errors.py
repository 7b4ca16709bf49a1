"""Turns what the etcd client raises into the project's errors."""

from __future__ import annotations

import json

import requests
import urllib3.exceptions
from etcd3gw.exceptions import Etcd3Exception

from mishards.core.errors import DiskFull, InternalError, StorageError, SystemFault, Unavailable

# Codes of gRPC, which the gateway gives in its answer.
_INVALID, _EXHAUSTED, _OUT_OF_RANGE, _UNAUTHENTICATED = 3, 8, 11, 16


class InvalidRequest(InternalError):
    """Etcd refuses a request as such: too large, too many operations."""


class Compacted(StorageError):
    """The revision that was to be read is no longer kept; read anew."""


def etcd_error(name: str, error: Exception) -> SystemFault:
    """The error to raise for what the client of the cluster called `name` raised.

    `Unavailable`, which is retriable, unless etcd says that it has no space (`DiskFull`), no
    longer keeps a revision (`Compacted`) or does not take such a request (`InvalidRequest`).
    """
    code, message = _told(error)
    if "database space exceeded" in message:
        return DiskFull(f"no space left in {name}: its quota is used up")
    if code == _OUT_OF_RANGE and "compacted" in message:
        return Compacted(f"{name}: {message}")
    if code in (_INVALID, _OUT_OF_RANGE) or (code == _EXHAUSTED and "larger than" in message):
        return InvalidRequest(f"{name} refuses a request: {message}")
    return Unavailable(f"{name} cannot be used: {message or _reason(error)}")


def certainly_not_sent(error: BaseException) -> bool:
    """Whether no connection to the server came about."""
    cause = error.__context__ if isinstance(error, Etcd3Exception) else error
    if isinstance(cause, requests.exceptions.ConnectTimeout):
        return True
    reason = getattr(cause.args[0], "reason", None) if cause and cause.args else None
    return isinstance(reason, urllib3.exceptions.NewConnectionError)


def is_expired(error: Exception) -> bool:
    """Whether etcd does not know the connection's token any more; nothing was done."""
    return _told(error)[0] == _UNAUTHENTICATED


def _reason(error: BaseException) -> str:
    """What happened below, without the layers that it came through."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TimeoutError | requests.Timeout):
            return "no answer in time"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__context__
    return str(error) or type(error).__name__


def _told(error: Exception) -> tuple[int, str]:
    """Code and message of the answer; 0 and what there is where none came."""
    text = getattr(error, "detail_text", None) or ""
    try:
        answer = json.loads(text)
        return int(answer.get("code", 0)), str(answer.get("message") or answer.get("error", text))
    except (ValueError, AttributeError, TypeError):
        return 0, text
