"""The proxy's answers as serialised Milvus responses.

Invariant: the work per answer, not per hit, is in Python; hits are copied in bulk.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from mishards.api.milvus.decode_reads import COUNT
from mishards.api.milvus.encode_columns import encode_columns
from mishards.api.milvus.wire import put_floats
from mishards.core.schema import DataType
from mishards.proxy.calls import Coverage, QueryAnswer, SearchAnswer, WriteAnswer

_MOST_WORDS = 4_000
_SCORES = schema_pb2.SearchResultData.DESCRIPTOR.fields_by_name["scores"].number


def encode_search(
    answer: SearchAnswer, collection: str, round_decimal: int = -1, explanation: str = ""
) -> bytes:
    """A successful `SearchResults`.

    Args:
        collection: the name that the client used.
        round_decimal: decimals to round scores to; -1 leaves them as they are.
        explanation: what was done and why, as JSON; empty where nobody asked.
    """
    response = milvus_pb2.SearchResults(
        collection_name=collection, session_ts=answer.read_ts, status={}
    )
    results = response.results
    counts = answer.counts.tolist()
    results.num_queries = len(counts)
    results.top_k = max(counts, default=0)
    results.topks.extend(counts)
    results.primary_field_name = answer.view.schema.primary.name
    keys = answer.keys
    if isinstance(keys, list):
        results.ids.str_id.SetInParent()
        results.ids.str_id.data.extend(keys)
    else:
        results.ids.int_id.SetInParent()
        results.ids.int_id.data.extend(keys.tolist())
    scores = answer.distances
    if round_decimal >= 0:
        scores = np.round(scores.astype(np.float64), round_decimal).astype(np.float32)
    put_floats(results, _SCORES, results.scores, scores)
    if answer.coverage is not None:
        _tell_coverage(response.status, answer.coverage)
        # The one place for a number per query that pymilvus hands on.
        results.recalls.extend([answer.coverage.share] * len(counts))
    if explanation:
        response.status.extra_info["explain"] = explanation
        # The one text that pymilvus hands on; see `mishards.client.explain`.
        results.search_iterator_v2_results.token = explanation
    if answer.output:
        results.output_fields.extend(answer.output)
    if answer.columns is not None:
        encode_columns(results.fields_data, answer.columns, answer.view.schema)
    data: bytes = response.SerializeToString()
    return data


def encode_query(answer: QueryAnswer, collection: str) -> bytes:
    """A successful `QueryResults`."""
    schema = answer.view.schema
    response = milvus_pb2.QueryResults(
        collection_name=collection,
        session_ts=answer.read_ts,
        primary_field_name=schema.primary.name,
        output_fields=answer.output,
        status={},
    )
    if answer.coverage is not None:
        _tell_coverage(response.status, answer.coverage)
    if answer.count is not None:
        field = response.fields_data.add(type=int(DataType.INT64), field_name=COUNT)
        field.scalars.long_data.data.append(answer.count)
    elif answer.columns is not None:
        encode_columns(response.fields_data, answer.columns, schema)
    data: bytes = response.SerializeToString()
    return data


def _tell_coverage(status: Any, coverage: Coverage) -> None:
    """Mark an answer as partial; a complete one bears no mark."""
    told = {
        "partial": "true",
        "segments": str(coverage.segments),
        "searched_segments": str(coverage.searched_segments),
        "rows": str(coverage.rows),
        "searched_rows": str(coverage.searched_rows),
        "searched_growing": str(coverage.growing).lower(),
        "missing": "; ".join(coverage.missing)[:_MOST_WORDS],
    }
    for name, value in told.items():
        status.extra_info[name] = value


def encode_insert(answer: WriteAnswer) -> bytes:
    """A successful `MutationResult` of an insert."""
    return _mutation(answer, insert_cnt=answer.count)


def encode_upsert(answer: WriteAnswer) -> bytes:
    """A successful `MutationResult` of an upsert."""
    return _mutation(answer, upsert_cnt=answer.count)


def encode_delete(answer: WriteAnswer) -> bytes:
    """A successful `MutationResult` of a delete.

    It carries no ids: clients take ids for a sign of an old server and hide the count.
    """
    response = milvus_pb2.MutationResult(
        delete_cnt=answer.count, timestamp=answer.timestamp, acknowledged=True, status={}
    )
    response.IDs.SetInParent()
    data: bytes = response.SerializeToString()
    return data


def _mutation(answer: WriteAnswer, **counts: int) -> bytes:
    response = milvus_pb2.MutationResult(
        timestamp=answer.timestamp, acknowledged=True, status={}, **counts
    )
    response.succ_index.extend(range(answer.count))
    keys: Any = answer.keys
    if pa.types.is_integer(keys.type):
        response.IDs.int_id.data.extend(keys.to_numpy().tolist())
    else:
        response.IDs.str_id.data.extend(keys.to_pylist())
    data: bytes = response.SerializeToString()
    return data
