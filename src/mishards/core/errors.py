"""The one tree of errors.

Every class carries `code` (Milvus's own number, see Milvus `pkg/util/merr`), `retriable`
(whether the same call may succeed later) and `input_fault` (whether the caller or the system
is at fault). `api/milvus/status.py` alone turns an error into Milvus's `Status`.

Invariant: an error crosses the internal protocol as `(class name, message)` and comes out as the
same class; see `error_class`.
"""

from __future__ import annotations

from typing import ClassVar


class MishardsError(Exception):
    """Root of all errors raised on purpose. The message says what was wrong and what is allowed."""

    code: ClassVar[int] = 65535
    retriable: ClassVar[bool] = False
    input_fault: ClassVar[bool] = False

    @property
    def message(self) -> str:
        return str(self.args[0]) if self.args else type(self).__name__


class InputError(MishardsError):
    """The caller's input is at fault; repeating the call changes nothing."""

    code = 1100
    input_fault = True


class InvalidParameter(InputError):
    """A value is of the wrong kind, out of range, or unknown."""

    code = 1100


class MissingParameter(InputError):
    """A required value is absent."""

    code = 1101


class ParameterTooLarge(InputError):
    """A value or message is over its limit."""

    code = 1102


class FilterError(InvalidParameter):
    """A filter expression does not parse or does not fit the schema; points at the place."""


class SchemaError(InvalidParameter):
    """A collection schema breaks a rule."""


class InvalidRow(InvalidParameter):
    """A row of a write breaks the schema; nothing of its batch is stored."""


class Unimplemented(InputError):
    """A method or feature that is not served."""

    code = 10


class CollectionNotFound(InputError):
    code = 100


class CollectionNotLoaded(InputError):
    code = 101


class SchemaMismatch(InputError):
    """Rows were made for an older schema of the collection; read the schema anew and retry."""

    code = 109


class CollectionAlreadyExists(InvalidParameter):
    """A collection of this name exists with a different schema."""


class PartitionNotFound(InputError):
    code = 200


class PartitionNotLoaded(InputError):
    code = 201


class IndexNotFound(InputError):
    code = 700


class IndexNotSupported(InputError):
    code = 701


class IndexDuplicate(InputError):
    """An index exists on this field with other parameters, or under this name on another field."""

    code = 702


class DatabaseNotFound(InputError):
    code = 800


class DatabaseInvalidName(InputError):
    code = 802


class AliasNotFound(InputError):
    code = 1600


class AliasNameConflict(InputError):
    """An alias and a collection would carry the same name."""

    code = 1601


class AliasAlreadyExists(InputError):
    code = 1602


class FieldNotFound(InputError):
    code = 1700


class InvalidFieldName(InputError):
    code = 1701


class SystemFault(MishardsError):
    """The system is at fault, not the input."""

    code = 5


class NotReady(SystemFault):
    """The node is starting, draining, or has no peer to serve the call yet."""

    code = 1
    retriable = True


class Unavailable(SystemFault):
    """A peer cannot be reached or went away during the call."""

    code = 2
    retriable = True


class Unreachable(Unavailable):
    """No connection to the peer came about, so it certainly did not take the call."""


class NobodyListens(Unreachable):
    """The peer's address refuses connections: its machine answers, and no process is there."""


class TlsRefused(Unreachable):
    """One end does not take the other's certificate, has none, or speaks no TLS."""


class MemoryLimitExceeded(SystemFault):
    code = 3
    retriable = True


class TooManyRequests(SystemFault):
    """Refused at admission: the node already holds as much work as it may."""

    code = 8
    retriable = True


class InternalError(SystemFault):
    """A defect: something happened that the code holds impossible."""

    code = 5


class DiskFull(SystemFault):
    code = 7
    retriable = True


class DeadlineExceeded(SystemFault):
    """The call's time ran out; a write may or may not have been applied."""

    code = 2
    retriable = True


class NotLeader(SystemFault):
    """The node does not lead the log; ask the registry for the one that does."""

    code = 2
    retriable = True


class Fenced(NotLeader):
    """Another leader took the log; this one acknowledges nothing any more."""


class LeaseTaken(SystemFault):
    """The lease of a log changed since it was looked at."""

    code = 2
    retriable = True


class StalePlan(SystemFault):
    """The plan names rows or segments that the reader has let go; plan anew on a newer snapshot."""

    code = 601
    retriable = True


class SegmentNotFound(SystemFault):
    """A segment's files are missing on shared storage."""

    code = 600


class SegmentUnavailable(SystemFault):
    """No live reader could serve a segment that the search needs."""

    code = 401
    retriable = True


class StorageError(SystemFault):
    """Shared storage refused or failed an operation."""

    code = 1001
    retriable = True


class ObjectNotFound(StorageError):
    code = 1000
    retriable = False


class ObjectExists(StorageError):
    """An exclusive create found the object already there."""

    retriable = False


class CorruptObject(StorageError):
    """An object's bytes do not match its checksum or format; the message names the object."""

    retriable = False


class PinLost(SystemFault):
    """A pin on storage was not renewed in time; what was read under it may be incomplete."""

    code = 1001
    retriable = True


class MetadataUnavailable(SystemFault):
    """The metadata store cannot be reached or is locked."""

    code = 2
    retriable = True


class MetadataConflict(SystemFault):
    """Another commit came first: the epoch or the version is not the expected one."""

    code = 2
    retriable = True


class MetadataBehind(SystemFault):
    """The metadata database has lost commits that shared storage knows of; it is to be repaired."""

    code = 5


class DataInUse(SystemFault):
    """The data folder belongs to another running instance."""

    code = 2


class ConfigError(MishardsError):
    """The configuration cannot be used; names the key and what is allowed."""

    code = 1100
    input_fault = True


class StorageUnfit(ConfigError):
    """What was named as shared storage does not keep a promise that the log rests on."""


class PluginError(ConfigError):
    """No plugin of this name, or its optional packages are missing."""


class ProtocolError(SystemFault):
    """A peer sent bytes that are not of the internal protocol."""

    code = 5


def _subclasses(root: type[MishardsError]) -> dict[str, type[MishardsError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found.update(_subclasses(child))
    return found


def error_class(name: str) -> type[MishardsError]:
    """The class named `name` in the tree, or `InternalError` when there is none."""
    return _subclasses(MishardsError).get(name, InternalError)
