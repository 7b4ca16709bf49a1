"""Names and values between protobuf's key-value lists and the project's tuples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pymilvus.grpc_gen import common_pb2

Pairs = tuple[tuple[str, str], ...]

SUCCESS = common_pb2.Status()


def pairs_of(repeated: Iterable[Any]) -> Pairs:
    """A list of `KeyValuePair` in the client's order; of a name given twice the last counts."""
    return tuple({pair.key: pair.value for pair in repeated}.items())


def put_pairs(repeated: Any, pairs: Iterable[tuple[str, str]]) -> None:
    """Append to a list of `KeyValuePair`."""
    for key, value in pairs:
        repeated.add(key=key, value=value)


def is_true(value: str) -> bool:
    """Whether a property's text means yes, as clients of several languages write it."""
    return value.strip().lower() in ("true", "1")
