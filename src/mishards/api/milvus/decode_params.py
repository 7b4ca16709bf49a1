"""Key-value parameters of searches and queries: what is served, what is refused.

Invariant: no parameter is silently ignored. It is served, or it cannot change the answer, or the
request is refused by the parameter's name.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec

from mishards.core.errors import InvalidParameter, MissingParameter, Unimplemented

_MOST_CHARACTERS = 8_192
"""Of one parameter's value; keeps what is remembered of them small."""

_UNLIMITED = -1
"""How clients write a query's limit that is none."""

_ALLOW_PARTIAL = "allow_partial_results"
_EXPLAIN = "explain"
_HARMLESS = frozenset({"cluster_id", "collection_id", "nq"})
_ABSENT = frozenset({"", "false", "none", "null"})
"""Values, in lower case, by which clients say that they do not use an option."""

_UNSERVED = frozenset(
    {
        "analyzer_name",
        "group_by_field",
        "group_by_fields",
        "group_size",
        "hints",
        "iterator",
        "json_path",
        "json_type",
        "order_by",
        "order_by_fields",
        "page_retain_order",
        "query_iter_last_element_offset",
        "query_iter_last_pk",
        "radius",
        "range_filter",
        "search_iter_batch_size",
        "search_iter_id",
        "search_iter_last_bound",
        "search_iter_v2",
        "strict_cast",
        "strict_group_size",
        "time_fields",
        "timezone",
    }
)

_decode_json = msgspec.json.Decoder().decode


class SearchParams(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of a search; shared between searches, so never changed.

    Attributes:
        round_decimal: decimals that scores are rounded to; -1 leaves them as they are.
        params: what is left for the index family.
        allow_partial: `allow_partial_results`; None where it is not given.
        explain: the answer is to say what was done and why.
    """

    field: str = ""
    limit: int
    offset: int = 0
    round_decimal: int = -1
    metric: str = ""
    ignore_growing: bool = False
    params: dict[str, Any] = {}
    allow_partial: bool | None = None
    explain: bool = False


class QueryParams(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of a query. `limit` 0 means none was given.

    Attributes:
        collection_id: the collection that an iterator began on; 0 where it is not stated.
    """

    limit: int = 0
    offset: int = 0
    ignore_growing: bool = False
    iterator: bool = False
    collection_id: int = 0
    allow_partial: bool = False


@lru_cache(maxsize=512)
def search_params(pairs: tuple[tuple[str, str], ...]) -> SearchParams:
    """The `search_params` of a search request; remembered, for clients repeat them.

    Clients write a parameter beside `params`, inside its JSON, or in both places; the two must
    agree.

    Raises:
        InvalidParameter, MissingParameter, Unimplemented: names the parameter and its value.
    """
    outer = _unique(pairs)
    inner = _inner(outer.pop("params", ""))
    known: dict[str, Any] = {}
    for name in ("anns_field", "topk", "limit", "offset", "round_decimal", "metric_type"):
        known[name] = _agreed(name, outer.pop(name, None), inner.pop(name, None))
    growing = _agreed(
        "ignore_growing", outer.pop("ignore_growing", None), inner.pop("ignore_growing", None)
    )
    partial = _agreed(
        _ALLOW_PARTIAL, outer.pop(_ALLOW_PARTIAL, None), inner.pop(_ALLOW_PARTIAL, None)
    )
    explain = _agreed(_EXPLAIN, outer.pop(_EXPLAIN, None), inner.pop(_EXPLAIN, None))
    for name, value in outer.items():
        _refuse(name, value)
    for name, value in inner.items():
        if name in _UNSERVED:
            _refuse(name, value)
    limit = known["topk"] if known["topk"] is not None else known["limit"]
    if limit is None:
        raise MissingParameter("the search names no topk (limit)")
    return SearchParams(
        field=str(known["anns_field"] or ""),
        limit=_integer("topk", limit),
        offset=_integer("offset", known["offset"] or 0),
        round_decimal=_round_decimal(known["round_decimal"]),
        metric=str(known["metric_type"] or ""),
        ignore_growing=_boolean("ignore_growing", growing),
        params={name: value for name, value in inner.items() if name not in _UNSERVED},
        allow_partial=None if partial is None else _boolean(_ALLOW_PARTIAL, partial),
        explain=_boolean(_EXPLAIN, explain),
    )


def query_params(pairs: Iterable[tuple[str, str]]) -> QueryParams:
    """The `query_params` of a query request.

    Raises:
        InvalidParameter, Unimplemented: names the parameter and its value.
    """
    given = _unique(pairs)
    limit = given.pop("limit", None)
    offset = _integer("offset", given.pop("offset", None) or 0)
    growing = _boolean("ignore_growing", given.pop("ignore_growing", None))
    iterator = _boolean("iterator", given.pop("iterator", None))
    collection_id = _integer("collection_id", given.pop("collection_id", None) or 0)
    partial = _boolean(_ALLOW_PARTIAL, given.pop(_ALLOW_PARTIAL, None))
    given.pop("reduce_stop_for_best", None)
    for name, value in given.items():
        _refuse(name, value)
    rows = _UNLIMITED if limit is None else _integer("limit", limit)
    if rows < 1 and rows != _UNLIMITED:
        raise InvalidParameter(f"limit {rows} is invalid: it should be greater than 0")
    return QueryParams(
        limit=max(rows, 0),
        offset=offset,
        ignore_growing=growing,
        iterator=iterator,
        collection_id=collection_id,
        allow_partial=partial,
    )


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidParameter(f"parameter {name!r} is given twice")
        if len(value) > _MOST_CHARACTERS:
            raise InvalidParameter(
                f"parameter {name[:40]!r} is {len(value)} characters long; "
                f"at most {_MOST_CHARACTERS} are allowed"
            )
        found[name] = value
    return found


def _inner(text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        value = _decode_json(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidParameter(
            f"search parameter params is not valid JSON: {text[:80]!r}"
        ) from error
    if not isinstance(value, dict):
        raise InvalidParameter(
            f"search parameter params is {text[:80]!r}; a JSON object is expected"
        )
    return value


def _agreed(name: str, outer: str | None, inner: Any) -> Any:
    if outer is None or outer == "":
        return inner
    if inner is not None and str(inner).lower() != outer.lower():
        raise InvalidParameter(f"parameter {name!r} is {outer!r} and {inner!r} at once")
    return outer


def _refuse(name: str, value: Any) -> None:
    if name in _HARMLESS or str(value).lower() in _ABSENT:
        return
    if name in _UNSERVED:
        raise Unimplemented(f"parameter {name!r} (here {str(value)[:80]!r}) is not served")
    raise Unimplemented(f"unknown parameter {name[:80]!r} (here {str(value)[:80]!r})")


def _integer(name: str, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        if isinstance(value, str):
            return int(value)
    except ValueError:
        pass
    raise InvalidParameter(f"parameter {name!r} is {value!r}; an integer is expected")


def _boolean(name: str, value: Any) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    text = str(value).lower()
    if text in ("true", "1"):
        return True
    if text in _ABSENT or text == "0":
        return False
    raise InvalidParameter(f"parameter {name!r} is {value!r}; true or false is expected")


def _round_decimal(value: Any) -> int:
    if value is None:
        return -1
    decimals = _integer("round_decimal", value)
    if not -1 <= decimals <= 6:
        raise InvalidParameter(
            f"round_decimal is {decimals}; -1 or a number in range [0, 6] is allowed"
        )
    return decimals
