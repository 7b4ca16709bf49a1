"""What can be settled about a search before any node is asked, and kept for the next like it.

A `PreparedSearch` holds for one collection view; a newer view makes a new one.
"""

from __future__ import annotations

import msgspec

from mishards.core import limits
from mishards.core.errors import (
    FieldNotFound,
    IndexNotFound,
    InvalidParameter,
    MissingParameter,
    ParameterTooLarge,
)
from mishards.core.schema import CollectionSchema, FieldSchema, Metric
from mishards.expr import Filter, compile_filter
from mishards.index.registry import family
from mishards.metadata.models import IndexMeta
from mishards.metadata.snapshot import CollectionView
from mishards.proxy.calls import SearchCall
from mishards.proxy.measures import ProxyMeasures
from mishards.proxy.output import OutputPlan, plan_output
from mishards.proxy.plan import Scope, read_scope

_KEPT = 512


class PreparedSearch(msgspec.Struct, frozen=True):
    """A search's settled parts.

    Attributes:
        k: hits per query that readers are asked for: offset and limit together.
        params: checked search parameters of the index family.
    """

    view: CollectionView
    field: FieldSchema
    metric: Metric
    k: int
    params: dict[str, object]
    output: OutputPlan
    scope: Scope


class SearchPreparer:
    """Checks searches against their collection and remembers the outcome. Thread-safe."""

    def __init__(self, measures: ProxyMeasures) -> None:
        self._known: dict[object, PreparedSearch] = {}
        self._measures = measures

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._known)

    def prepare(self, call: SearchCall, view: CollectionView) -> PreparedSearch:
        """Raises whatever is wrong with the search, but for its vectors."""
        key = _cache_key(call)
        if key is not None:
            known = self._known.get(key)
            if known is not None and known.view is view:
                self._measures.plan_hits.inc()
                return known
        self._measures.plan_misses.inc()
        prepared = _prepare(call, view)
        if key is not None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[key] = prepared
        return prepared


def _cache_key(call: SearchCall) -> object | None:
    """Something equal for calls whose preparing gives the same; None where a value has no hash."""
    if call.shape:
        return call.shape
    key = (
        call.database,
        call.collection,
        call.field,
        call.metric,
        call.limit,
        call.offset,
        tuple(call.params.items()),
        call.filter,
        tuple(call.templates.items()),
        call.partitions,
        call.output,
        call.ignore_growing,
    )
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _prepare(call: SearchCall, view: CollectionView) -> PreparedSearch:
    schema = view.schema
    field = _vector_field(schema, call.field)
    index = view.meta.index_by_field.get(field.name)
    if index is None:
        raise IndexNotFound(f"vector field {field.name!r} of {schema.name!r} has no index")
    check_window(call.limit, call.offset)
    metric = _metric(call.metric, index)
    k = call.offset + call.limit
    selection = compile_selection(call.filter, schema, call.templates)
    return PreparedSearch(
        view=view,
        field=field,
        metric=metric,
        k=k,
        params=family(index.family).check_search(call.params, k),
        output=plan_output(schema, call.output, with_primary=False),
        scope=read_scope(view, call.partitions, selection, growing=not call.ignore_growing),
    )


def compile_selection(
    text: str, schema: CollectionSchema, templates: dict[str, object]
) -> Filter | None:
    """The compiled filter; None for an empty one."""
    return compile_filter(text, schema, templates) if text.strip() else None


def check_window(limit: int, offset: int) -> None:
    """Refuse a limit or offset outside what Milvus allows."""
    if not 1 <= limit <= limits.MAX_TOP_K:
        raise InvalidParameter(
            f"limit {limit} is out of range: from 1 to {limits.MAX_TOP_K} is allowed"
        )
    if offset < 0 or offset + limit > limits.MAX_QUERY_WINDOW:
        raise InvalidParameter(
            f"offset {offset} is out of range: offset and limit together (here {offset + limit}) "
            f"may be from 0 to {limits.MAX_QUERY_WINDOW}"
        )


def check_queries(call: SearchCall, field: FieldSchema) -> None:
    """Refuse a number of queries or a vector length that does not fit.

    Raises:
        InvalidParameter: the number is out of range, or vectors are of another dimension.
        ParameterTooLarge: all queries together ask for too many results.
    """
    if not 1 <= call.nq <= limits.MAX_NQ:
        raise InvalidParameter(
            f"number of queries {call.nq} is out of range: from 1 to {limits.MAX_NQ} is allowed"
        )
    results = call.nq * (call.offset + call.limit)
    if results > limits.MAX_RESULTS:
        raise ParameterTooLarge(
            f"number of result entries is too large: {call.nq} queries (nq) with offset + limit "
            f"= {call.offset + call.limit} are {results}; at most {limits.MAX_RESULTS} are "
            "allowed in one search"
        )
    given = len(call.queries) // (4 * call.nq)
    if len(call.queries) != 4 * call.nq * field.dim:
        raise InvalidParameter(
            f"vector dimension mismatch: field {field.name!r} has dimension {field.dim}, "
            f"the query has {given}"
        )


def _vector_field(schema: CollectionSchema, name: str) -> FieldSchema:
    if not name:
        if len(schema.vectors) > 1:
            raise MissingParameter(
                f"collection {schema.name!r} has several vector fields: name one of "
                f"{', '.join(f.name for f in schema.vectors)} as anns_field"
            )
        return schema.vectors[0]
    field = schema.by_name.get(name)
    if field is None:
        raise FieldNotFound(f"field {name!r} does not exist in collection {schema.name!r}")
    if not field.type.is_vector:
        raise InvalidParameter(f"field {name!r} is {field.type.name}, not a vector: not searchable")
    return field


def _metric(asked: str, index: IndexMeta) -> Metric:
    if not asked or asked.upper() == index.metric:
        return index.metric
    if asked.upper() not in Metric.__members__:
        raise InvalidParameter(f"invalid metric type {asked!r}; allowed are {', '.join(Metric)}")
    raise InvalidParameter(
        f"metric type not match: the index of field {index.field!r} has {index.metric}, "
        f"the search asks for {asked.upper()}"
    )
