"""A compiled filter, and compiling it from text.

Invariants: a `Filter` never changes and may be used from any thread; compiling the same text for
the same schema object again is a look-up; everything wrong with a filter is a `FilterError`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from functools import cached_property
from typing import Any

import pyarrow as pa

from mishards.core.errors import FilterError
from mishards.core.schema import CollectionSchema
from mishards.expr import plan, row_eval
from mishards.expr.arrow_eval import Mask, compile_mask
from mishards.expr.parser import parse
from mishards.expr.problem import Problem, filter_error
from mishards.expr.prune import Statistics, may_match
from mishards.expr.typecheck import check

_CACHED_FILTERS = 512
_CACHED_TEXT = 8_192
"""Longest text that is kept: long ones are lists of keys, and seldom come twice."""
_CACHED_ITEMS = 64


class Filter:
    """A filter that fits a schema."""

    def __init__(self, root: plan.Condition, primary_key: str) -> None:
        self._root = root
        self._primary_key = primary_key

    @cached_property
    def columns(self) -> frozenset[str]:
        """The columns that `mask` reads; `$meta` for dynamic fields."""
        sources = (plan.Column, plan.Element, plan.JsonPath)
        return frozenset(node.name for node in plan.nodes(self._root) if isinstance(node, sources))

    @cached_property
    def _mask(self) -> Callable[[Mapping[str, pa.Array], int], Mask]:
        return compile_mask(self._root)

    def mask(self, columns: Mapping[str, pa.Array], rows: int) -> Mask:
        """True for each row for which the filter is true; False also where it is unknown.

        Args:
            columns: at least those of `columns`, each of `rows` values, typed as `core.columns`
                says.

        Raises:
            CorruptObject: a JSON column holds a row that is no JSON.
        """
        return self._mask(columns, rows)

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether the filter is true for one row of Python values, JSON parsed."""
        return row_eval.condition(self._root, row) is True

    def may_match(self, statistics: Mapping[str, Statistics], rows: int) -> bool:
        """Whether any of `rows` rows with these statistics may match; False is certain."""
        return may_match(self._root, statistics, rows)

    def primary_keys(self) -> list[int | str] | None:
        """The keys, each once, where the filter is `key == x` or `key in [...]` and no more."""
        match self._root:
            case plan.Compare("==", plan.Column(name=name), plan.Literal(value=value)):
                values: tuple[Any, ...] = (value,)
            case plan.Member(plan.Column(name=name), values):
                pass
            case _:
                return None
        return list(dict.fromkeys(values)) if name == self._primary_key else None


class _Cache:
    """The filters compiled last, by text, schema object and templates."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Hashable, tuple[CollectionSchema, Filter]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Filter | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[1]

    def put(self, key: Hashable, schema: CollectionSchema, compiled: Filter) -> None:
        with self._lock:
            # Holding the schema keeps its id, which is in the key, from being given anew.
            self._entries[key] = (schema, compiled)
            if len(self._entries) > _CACHED_FILTERS:
                self._entries.popitem(last=False)


_cache = _Cache()


def compile_filter(
    text: str, schema: CollectionSchema, templates: Mapping[str, Any] | None = None
) -> Filter:
    """The filter of a text; an empty text matches every row.

    Args:
        templates: values for `{name}` in the text.

    Raises:
        FilterError: the text is no filter or does not fit the schema; points at the place.
    """
    key = _key(text, schema, templates)
    found = _cache.get(key) if key is not None else None
    if found is not None:
        return found
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise FilterError(
            f"cannot parse expression: character {error.start} is half of a surrogate pair"
        ) from None
    try:
        root = parse(text)
        checked = plan.Always(True) if root is None else check(root, schema, templates or {})
    except Problem as problem:
        raise filter_error(text, problem) from None
    compiled = Filter(checked, schema.primary.name)
    if key is not None:
        _cache.put(key, schema, compiled)
    return compiled


def _key(
    text: str, schema: CollectionSchema, templates: Mapping[str, Any] | None
) -> Hashable | None:
    if len(text) > _CACHED_TEXT:
        return None
    if not templates:
        return text, id(schema)
    # 1, 1.0 and True are equal keys but different constants: the type goes with the value.
    values: list[Hashable] = []
    for name, value in templates.items():
        if isinstance(value, list | tuple):
            if len(value) > _CACHED_ITEMS:
                return None
            values.append((name, tuple((type(item), item) for item in value)))
        else:
            values.append((name, type(value), value))
    key = (text, id(schema), tuple(values))
    try:
        hash(key)
    except TypeError:
        return None
    return key
