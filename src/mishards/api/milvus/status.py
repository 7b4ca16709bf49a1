"""Errors as Milvus's `Status`: the only place that knows the legacy error codes.

Invariants: every class of the error tree maps, by its method resolution order; anything else is
an internal error, logged here with its traceback and told to the client without its insides.
"""

from __future__ import annotations

import logging
from typing import Any

from pymilvus.grpc_gen import common_pb2

from mishards.core import errors
from mishards.core.secret import redact

_log = logging.getLogger(__name__)

LEGACY_CODES: dict[type[BaseException], int] = {
    errors.MishardsError: common_pb2.UnexpectedError,
    errors.InvalidParameter: common_pb2.IllegalArgument,
    errors.MissingParameter: common_pb2.IllegalArgument,
    errors.ParameterTooLarge: common_pb2.IllegalArgument,
    errors.ConfigError: common_pb2.IllegalArgument,
    errors.CollectionNotFound: common_pb2.CollectionNotExists,
    errors.SchemaMismatch: common_pb2.SchemaMismatch,
    errors.PartitionNotFound: common_pb2.MetaFailed,
    errors.IndexNotFound: common_pb2.IndexNotExist,
    errors.NotReady: common_pb2.NotReadyServe,
    errors.MemoryLimitExceeded: common_pb2.InsufficientMemoryToLoad,
    errors.TooManyRequests: common_pb2.RateLimit,
    errors.DiskFull: common_pb2.DiskQuotaExhausted,
    errors.SegmentNotFound: common_pb2.SegmentNotFound,
    errors.SegmentUnavailable: common_pb2.NoReplicaAvailable,
}
"""Milvus's old `error_code`, which clients of before 2.3 and some checks of pymilvus read.
Source: Milvus `pkg/util/merr/utils.go`."""


def status_of(error: BaseException) -> Any:
    """The `common.Status` of an error; never a success."""
    if not isinstance(error, errors.MishardsError):
        _log.error("a call failed with an unexpected error", exc_info=error)
        error = errors.InternalError(f"internal error: {type(error).__name__}")
    message = redact(error.message)
    legacy = next(LEGACY_CODES[kind] for kind in type(error).__mro__ if kind in LEGACY_CODES)
    status = common_pb2.Status(
        error_code=legacy,
        reason=message,
        code=error.code,
        retriable=error.retriable,
        detail=f"{type(error).__name__}: {message}",
    )
    if error.input_fault:
        status.extra_info["is_input_error"] = "true"
    return status


def status_field(response: type[Any]) -> str | None:
    """Name of the field that holds a response's status; empty where the response is itself one.

    None where the response can carry no status.
    """
    descriptor = response.DESCRIPTOR
    wanted = common_pb2.Status.DESCRIPTOR.full_name
    if descriptor.full_name == wanted:
        return ""
    for field in descriptor.fields:
        if field.message_type is not None and field.message_type.full_name == wanted:
            return str(field.name)
    return None


def failure(response: type[Any], error: BaseException) -> bytes:
    """A serialised `response` that carries `error`.

    Raises:
        TypeError: the response has no place for a status, see `status_field`.
    """
    status = status_of(error)
    name = status_field(response)
    if name is None:
        raise TypeError(f"{response.DESCRIPTOR.full_name} carries no status")
    answer = status if not name else response(**{name: status})
    data: bytes = answer.SerializeToString()
    return data
