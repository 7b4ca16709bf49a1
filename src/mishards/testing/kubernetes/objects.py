"""The objects of a Kubernetes API, with versions and history, after the published API.

What is kept to (see the API concepts and conventions of the Kubernetes documentation):

- one counter gives every change its `resourceVersion`; a change that changes nothing is none;
- an object is created once (409 `AlreadyExists`), and replaced only in the version that the
  replacement names (409 `Conflict`);
- a merge patch is that of RFC 7386; `status` changes by its subresource alone, and by that nothing
  else does;
- names, labels and annotations are checked (422 `Invalid`);
- history is kept up to `forget`; what lies before is 410 `Expired`.

Invariant: what is given out is never changed afterwards.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Json = dict[str, Any]

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_KEY_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_MOST_ANNOTATION_BYTES = 256 * 1024


class Refused(Exception):
    """A refusal, as the `Status` object that the API answers with."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code,
        }


class Kind(NamedTuple):
    """A kind of object: its API group and version, its plural in paths, and its name."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        """As objects carry it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def full_name(self) -> str:
        """As messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


KINDS = (
    Kind("", "v1", "namespaces", "Namespace"),
    Kind("", "v1", "pods", "Pod"),
    Kind("coordination.k8s.io", "v1", "leases", "Lease"),
)


class Change(NamedTuple):
    """One change: the object before it and after it, None where there was none or is none left.

    A deleted object is kept in `gone`, with the version of its deletion.
    """

    version: int
    kind: Kind
    namespace: str
    before: Json | None
    after: Json | None
    gone: Json | None = None


class Objects:
    """All objects of one server. Not thread-safe.

    Attributes:
        version: of the newest change.
        history: changes that a watch can still be told.
    """

    def __init__(self) -> None:
        self.version = 100
        self.history: list[Change] = []
        self.changed: Callable[[], None] = lambda: None
        self._forgotten = self.version
        self._found: dict[tuple[Kind, str, str], Json] = {}

    def all(self, kind: Kind, namespace: str) -> list[Json]:
        """The objects of a kind in a namespace, by name."""
        names = sorted(key for key in self._found if key[:2] == (kind, namespace))
        return [self._found[name] for name in names]

    def get(self, kind: Kind, namespace: str, name: str) -> Json:
        """One object; 404 where there is none."""
        try:
            return self._found[kind, namespace, name]
        except KeyError:
            raise Refused(404, "NotFound", f'{kind.full_name} "{name}" not found') from None

    def create(self, kind: Kind, namespace: str, body: Json) -> Json:
        """Add an object; 409 where there is one of that name."""
        made = copy.deepcopy(body)
        meta = made.setdefault("metadata", {})
        name = meta.get("name", "")
        if (kind, namespace, name) in self._found:
            raise Refused(409, "AlreadyExists", f'{kind.full_name} "{name}" already exists')
        if meta.get("resourceVersion"):
            raise _invalid(kind, name, "resourceVersion should not be set on objects to be created")
        meta["uid"] = f"00000000-0000-0000-0000-{self.version + 1:012d}"
        meta["creationTimestamp"] = "2026-01-01T00:00:00Z"
        if kind.plural == "pods":
            made["status"] = {"phase": "Pending"}
        return self._put(kind, namespace, None, made)

    def replace(self, kind: Kind, namespace: str, name: str, body: Json) -> Json:
        """Put another object in place of one of the version that `body` names."""
        before = self.get(kind, namespace, name)
        after = copy.deepcopy(body)
        meta = after.setdefault("metadata", {})
        if not meta.get("resourceVersion"):
            raise _invalid(kind, name, "metadata.resourceVersion: must be specified for an update")
        self._check_version(kind, before, meta["resourceVersion"])
        for given in ("uid", "creationTimestamp"):
            meta[given] = before["metadata"][given]
        if "status" in before:
            after["status"] = before["status"]
        return self._put(kind, namespace, before, after)

    def patch(self, kind: Kind, namespace: str, name: str, body: Json, part: str = "") -> Json:
        """Merge `body` into an object; `part` is the subresource `status`, or none."""
        before = self.get(kind, namespace, name)
        version = (body.get("metadata") or {}).get("resourceVersion")
        if version:
            self._check_version(kind, before, version)
        after = merged(before, body)
        if part == "status":
            after = {**copy.deepcopy(before), "status": after.get("status")}
        elif "status" in before:
            after["status"] = before["status"]
        return self._put(kind, namespace, before, after)

    def delete(self, kind: Kind, namespace: str, name: str, options: Json) -> Json:
        """Remove an object, where it is as `options` presuppose."""
        before = self.get(kind, namespace, name)
        version = (options.get("preconditions") or {}).get("resourceVersion")
        if version:
            self._check_version(kind, before, version)
        del self._found[kind, namespace, name]
        gone = copy.deepcopy(before)
        gone["metadata"]["resourceVersion"] = str(self.version + 1)
        self._note(Change(self.version + 1, kind, namespace, before, None, gone))
        return gone

    def since(self, version: int) -> list[Change]:
        """The changes after a version; 410 where they are no longer known."""
        if version < self._forgotten:
            raise Refused(
                410, "Expired", f"too old resource version: {version} ({self._forgotten})"
            )
        return [change for change in self.history if change.version > version]

    def forget(self) -> None:
        """Keep nothing of the history so far, as a server does after some minutes."""
        self._forgotten = self.version
        self.history.clear()

    def _put(self, kind: Kind, namespace: str, before: Json | None, after: Json) -> Json:
        meta = after["metadata"]
        name = meta.get("name", "")
        after["apiVersion"], after["kind"] = kind.api_version, kind.kind
        if kind.plural != "namespaces":
            meta["namespace"] = namespace
        meta["resourceVersion"] = "" if before is None else before["metadata"]["resourceVersion"]
        if after == before:
            return before
        _check(kind, name, meta)
        meta["resourceVersion"] = str(self.version + 1)
        self._found[kind, namespace, name] = after
        self._note(Change(self.version + 1, kind, namespace, before, after))
        return after

    def _note(self, change: Change) -> None:
        self.version = change.version
        self.history.append(change)
        self.changed()

    @staticmethod
    def _check_version(kind: Kind, found: Json, version: str) -> None:
        meta = found["metadata"]
        if meta["resourceVersion"] != version:
            raise Refused(
                409,
                "Conflict",
                f'Operation cannot be fulfilled on {kind.full_name} "{meta["name"]}": the object '
                "has been modified; please apply your changes to the latest version and try again",
            )


def merged(target: Any, patch: Any) -> Any:
    """`target` after a merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    made = copy.deepcopy(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = merged(made.get(key), value)
    return made


def _check(kind: Kind, name: str, meta: Mapping[str, Any]) -> None:
    if len(name) > 253 or not _SUBDOMAIN.fullmatch(name):
        raise _invalid(kind, name, "metadata.name: a lowercase RFC 1123 subdomain is expected")
    annotations, labels = meta.get("annotations") or {}, meta.get("labels") or {}
    for key in (*annotations, *labels):
        prefix, slash, own = key.rpartition("/")
        if not _KEY_NAME.fullmatch(own) or (slash and not _SUBDOMAIN.fullmatch(prefix)):
            raise _invalid(kind, name, f"metadata: {key!r} is no qualified name")
    for value in labels.values():
        if not _LABEL_VALUE.fullmatch(value):
            raise _invalid(kind, name, f"metadata.labels: {value!r} is no valid value")
    if not all(isinstance(value, str) for value in annotations.values()):
        raise _invalid(kind, name, "metadata.annotations: values are strings")
    size = sum(len(key) + len(value.encode()) for key, value in annotations.items())
    if size > _MOST_ANNOTATION_BYTES:
        raise _invalid(kind, name, f"metadata.annotations: {size} bytes are too many")


def _invalid(kind: Kind, name: str, message: str) -> Refused:
    return Refused(422, "Invalid", f'{kind.kind} "{name}" is invalid: {message}')
