"""Parts of an etcd transaction as its HTTP gateway takes them, and its answer read back.

In the gateway's JSON, bytes are base64, 64-bit numbers are strings, and what has its default value
is left out.

Source: etcd API reference, `etcdserverpb.TxnRequest` and `TxnResponse`.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

import msgspec

Part = dict[str, Any]


class Found(msgspec.Struct, frozen=True):
    """A key and its value; `revision` is that of the store when it was last put."""

    key: bytes
    value: bytes
    revision: int


class Answer(msgspec.Struct, frozen=True):
    """What a transaction did.

    Attributes:
        succeeded: whether all comparisons held, so that the first list of operations was done.
        revision: of the store after it.
        ranges: what the reads of the list that was done found, in their order.
    """

    succeeded: bool
    revision: int
    ranges: tuple[tuple[Found, ...], ...]


def after(prefix: bytes) -> bytes:
    """The first key after all that begin with `prefix`, whose last byte is not 255."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def put(key: bytes, value: bytes) -> Part:
    """Operation: set the value of a key."""
    return {"request_put": {"key": _text(key), "value": _text(value)}}


def delete(key: bytes, end: bytes = b"") -> Part:
    """Operation: remove a key, or all from `key` to before `end`."""
    return {"request_delete_range": _span(key, end)}


def read(
    key: bytes,
    end: bytes = b"",
    *,
    limit: int = 0,
    revision: int = 0,
    keys_only: bool = False,
) -> Part:
    """Operation: a key, or those from `key` to before `end`, by key.

    Args:
        limit: of keys; 0 for none.
        revision: of the store, as it was then; 0 for the newest.
    """
    request: Part = _span(key, end)
    if limit:
        request["limit"] = limit
    if revision:
        request["revision"] = revision
    if keys_only:
        request["keys_only"] = True
    return {"request_range": request}


def value_is(key: bytes, value: bytes) -> Part:
    """Comparison: the key is there, with this value."""
    return {"key": _text(key), "target": "VALUE", "result": "EQUAL", "value": _text(value)}


def unchanged(key: bytes, revision: int) -> Part:
    """Comparison: the key was last put at `revision`; 0 for one that is not there."""
    return {"key": _text(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}


def present(key: bytes) -> Part:
    """Comparison: the key is there."""
    return {"key": _text(key), "target": "MOD", "result": "GREATER", "mod_revision": "0"}


def transaction(compare: Sequence[Part], success: Sequence[Part], failure: Sequence[Part]) -> Part:
    """The body of a request: do `success` if all comparisons hold, else `failure`."""
    return {"compare": list(compare), "success": list(success), "failure": list(failure)}


def parse_answer(answer: Part) -> Answer:
    """Read the answer to a transaction.

    Raises:
        KeyError, TypeError, ValueError: it is not one.
    """
    ranges = [
        tuple(_found(item) for item in part["response_range"].get("kvs", ()))
        for part in answer.get("responses", ())
        if "response_range" in part
    ]
    return Answer(
        bool(answer.get("succeeded", False)), int(answer["header"]["revision"]), tuple(ranges)
    )


def _found(item: Part) -> Found:
    return Found(
        b64decode(item["key"]), b64decode(item.get("value", "")), int(item["mod_revision"])
    )


def _span(key: bytes, end: bytes) -> Part:
    return {"key": _text(key), "range_end": _text(end)} if end else {"key": _text(key)}


def _text(data: bytes) -> str:
    return b64encode(data).decode("ascii")
