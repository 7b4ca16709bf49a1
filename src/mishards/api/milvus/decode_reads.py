"""Search, Query and Delete requests as the proxy's calls.

Invariants: nothing here looks at metadata, so a search's decoding costs the same whatever the
catalogue holds; ranges of `limit`, `offset`, `nq` and the dimension are the proxy's to check.
Whatever a request carries that is not served is refused by name.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from msgspec import structs
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from mishards.api.milvus.decode_params import query_params, search_params
from mishards.api.milvus.decode_templates import decode_templates
from mishards.core.errors import InvalidParameter, MissingParameter, Unimplemented
from mishards.metadata.models import ConsistencyLevel
from mishards.proxy.calls import DeleteCall, QueryCall, SearchCall
from mishards.proxy.rows import check_finite

COUNT = "count(*)"
"""The output field that asks for the number of rows; see `QueryCall`."""

_LEVELS = tuple(ConsistencyLevel)
_KEPT_SHAPES = 512
_shapes: dict[bytes, tuple[SearchCall, int]] = {}
"""Searches decoded before, without their vectors: clients repeat all else of them."""
_EVENTUALLY_TS, _BOUNDED_TS = 1, 2
_parse_placeholders = common_pb2.PlaceholderGroup.FromString

_PRESENT = {field.name for field in milvus_pb2.SearchRequest.DESCRIPTOR.fields}
_UNSERVED_MESSAGES = tuple(
    name
    for name in ("function_score", "highlighter", "ids", "search_aggregation")
    if name in _PRESENT
)
_UNSERVED_LISTS = tuple(
    name
    for name in ("sub_reqs", "function_chains", "search_by_primary_keys", "namespace")
    if name in _PRESENT
)


def decode_search(request: Any, database: str = "") -> tuple[SearchCall, int]:
    """The call of a `SearchRequest`, and the decimals to round scores to (-1: none).

    Takes the vectors out of `request`.

    Args:
        database: used where the request names none.

    Raises:
        InvalidParameter, MissingParameter, Unimplemented: names the parameter and its value.
    """
    group, nq = request.placeholder_group, request.nq
    request.ClearField("placeholder_group")
    shape: bytes = request.SerializeToString() + database.encode()
    known = _shapes.get(shape)
    if known is None:
        known = _decode_shape(request, database, shape)
        if len(_shapes) >= _KEPT_SHAPES:
            _shapes.clear()
        _shapes[shape] = known
    call, round_decimal = known
    queries, nq = _queries(group, nq)
    return structs.replace(call, queries=queries, nq=nq), round_decimal


def _decode_shape(request: Any, database: str, shape: bytes) -> tuple[SearchCall, int]:
    """All of a search but its vectors."""
    for name in _UNSERVED_MESSAGES:
        if request.HasField(name):
            raise Unimplemented(f"{name} of a search is not served")
    for name in _UNSERVED_LISTS:
        if getattr(request, name):
            raise Unimplemented(f"{name} of a search is not served")
    params = search_params(tuple([(pair.key, pair.value) for pair in request.search_params]))
    level, guarantee = _consistency(request)
    templates = request.expr_template_values
    call = SearchCall(
        database=request.db_name or database,
        collection=request.collection_name,
        partitions=tuple(request.partition_names),
        filter=request.dsl,
        templates=decode_templates(templates) if templates else {},
        output=tuple(request.output_fields),
        consistency=level,
        guarantee_ts=guarantee,
        ignore_growing=params.ignore_growing,
        field=params.field,
        queries=b"",
        nq=0,
        limit=params.limit,
        offset=params.offset,
        metric=params.metric,
        params=params.params,
        shape=shape,
        allow_partial=params.allow_partial,
        explain=params.explain,
    )
    return call, params.round_decimal


def _queries(placeholders: bytes, stated: int) -> tuple[bytes, int]:
    """Raw vectors in a row, and their number; `stated` is what the request says, or 0."""
    try:
        group = _parse_placeholders(placeholders).placeholders
    except DecodeError as error:
        raise InvalidParameter(f"placeholder_group cannot be parsed: {error}") from error
    if len(group) != 1:
        raise MissingParameter(f"a search has one group of query vectors, not {len(group)}")
    holder = group[0]
    if holder.type != common_pb2.FloatVector:
        raise InvalidParameter(
            f"query vectors are of the type {_placeholder_name(holder.type)}; "
            "FloatVector is expected by a FLOAT_VECTOR field"
        )
    values = holder.values
    nq = len(values)
    if stated not in (0, nq):
        raise InvalidParameter(f"nq is {stated}, but {nq} query vectors are given")
    if nq == 0:
        raise InvalidParameter("nq is 0; at least one query vector is needed")
    if nq == 1:
        data: bytes = values[0]
    else:
        sizes = set(map(len, values))
        if len(sizes) != 1:
            raise InvalidParameter(f"query vectors have different sizes: {sorted(sizes)} bytes")
        data = b"".join(values)
    if len(data) % 4:
        raise InvalidParameter(f"{len(data) // nq} bytes are no query vector of 4-byte floats")
    if (bad := check_finite(np.frombuffer(data, np.float32))) is not None:
        raise InvalidParameter(
            f"query vector {bad * nq * 4 // len(data)} holds NaN or an infinity; "
            "only finite numbers are allowed"
        )
    return data, nq


def _placeholder_name(number: int) -> str:
    known = common_pb2.PlaceholderType.DESCRIPTOR.values_by_number
    return known[number].name if number in known else str(number)


def _consistency(request: Any) -> tuple[ConsistencyLevel | None, int]:
    """The level asked for, None for the collection's own, and the guarantee timestamp.

    Clients of the time before levels speak by the timestamp alone: 1 asks for anything, 2 for
    bounded staleness, any other for that moment.
    """
    guarantee: int = request.guarantee_timestamp
    if request.use_default_consistency:
        return None, guarantee
    number = request.consistency_level
    if number >= len(_LEVELS):
        raise InvalidParameter(f"consistency_level is {number}; from 0 to 4 is allowed")
    level = _LEVELS[number]
    if level is ConsistencyLevel.STRONG and guarantee:
        if guarantee == _EVENTUALLY_TS:
            return ConsistencyLevel.EVENTUALLY, 0
        if guarantee == _BOUNDED_TS:
            return ConsistencyLevel.BOUNDED, 0
        return ConsistencyLevel.CUSTOMIZED, guarantee
    return level, guarantee


def decode_query(request: Any) -> tuple[QueryCall, int]:
    """The call of a `QueryRequest`, and the collection id that an iterator states (0: none).

    Pages of an iterator are queries as of its first page's timestamp: rows come by primary key,
    and the client asks for keys beyond its last.

    Raises:
        InvalidParameter, Unimplemented: names the parameter and its value.
    """
    if request.namespace:
        raise Unimplemented(f"namespace {request.namespace!r}: namespaces are not served")
    params = query_params((pair.key, pair.value) for pair in request.query_params)
    output = _query_output(request.output_fields)
    if output == (COUNT,) and (params.limit or params.offset):
        raise InvalidParameter(f"{COUNT} takes neither limit nor offset")
    level, guarantee = _consistency(request)
    call = QueryCall(
        database=request.db_name,
        collection=request.collection_name,
        partitions=tuple(request.partition_names),
        filter=request.expr,
        templates=decode_templates(request.expr_template_values),
        output=output,
        consistency=level,
        guarantee_ts=guarantee,
        ignore_growing=params.ignore_growing,
        limit=params.limit,
        offset=params.offset,
        allow_partial=params.allow_partial,
        as_of=guarantee if params.iterator and guarantee > _BOUNDED_TS else 0,
    )
    return call, params.collection_id


def _query_output(names: Any) -> tuple[str, ...]:
    output = tuple(names)
    if not any(name.replace(" ", "").lower() == COUNT for name in output):
        return output
    if len(output) > 1:
        raise InvalidParameter(f"{COUNT} stands alone; here with {', '.join(output)}")
    return (COUNT,)


def decode_delete(request: Any) -> DeleteCall:
    """The call of a `DeleteRequest`.

    Raises:
        MissingParameter: there is no filter.
        InvalidParameter, Unimplemented: names the parameter and its value.
    """
    if getattr(request, "namespace", ""):
        raise Unimplemented(f"namespace {request.namespace!r}: namespaces are not served")
    if not request.expr.strip():
        raise MissingParameter("a delete needs a filter expression")
    number = request.consistency_level
    if number >= len(_LEVELS):
        raise InvalidParameter(f"consistency_level is {number}; from 0 to 4 is allowed")
    return DeleteCall(
        database=request.db_name,
        collection=request.collection_name,
        partition=request.partition_name,
        filter=request.expr,
        templates=decode_templates(request.expr_template_values),
        consistency=_LEVELS[number],
    )
