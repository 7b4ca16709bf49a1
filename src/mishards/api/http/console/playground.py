"""One search from the playground, as any client could make it, and what came of it."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pyarrow as pa

from mishards.api.http.console.query import (
    Asked,
    row_call,
    search_call,
    typed_vector,
    vector_field,
)
from mishards.api.http.console.traces import Waterfall, waterfall
from mishards.core.columns import vector_view
from mishards.core.errors import InvalidParameter, MishardsError
from mishards.core.runtime import Runtime
from mishards.core.schema import FieldSchema
from mishards.observability.tracing import Recorder, recorded, recording
from mishards.proxy.calls import ProxyApi, QueryAnswer, SearchAnswer

MOST_TEXT = 300
_FEW_NUMBERS = 4


class Hit(msgspec.Struct, frozen=True):
    """A hit; `values` in the order of the columns, cut where they are long."""

    key: str
    distance: float
    values: list[str]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a search gave.

    Attributes:
        searched_with: the key of the row whose vector was used; empty for a typed one.
        missing: what was not searched, where the answer is partial.
    """

    metric: str
    columns: list[str]
    hits: list[Hit]
    took_s: float
    searched_with: str
    missing: tuple[str, ...]
    explained: Waterfall


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The form as it was sent, with what came of it: hits, or why there are none."""

    asked: Asked
    found: Found | None = None
    error: str = ""
    code: int = 0


async def played(proxy: ProxyApi, runtime: Runtime, asked: Asked) -> Outcome:
    """Search as asked. What is wrong with the form, or with the cluster, is part of the outcome."""
    try:
        return Outcome(asked=asked, found=await _found(proxy, runtime, asked))
    except MishardsError as error:
        return Outcome(asked=asked, error=error.message, code=error.code)


async def _found(proxy: ProxyApi, runtime: Runtime, asked: Asked) -> Found:
    view = proxy.snapshot.resolve(asked.database, asked.name)
    field = vector_field(view.schema, asked.field)
    key = ""
    if asked.by == "vector":
        vector = typed_vector(asked, field)
    elif asked.by in ("id", "random"):
        if asked.by == "random":
            rows = await proxy.query(row_call(asked, view, random.random()))
            asked = msgspec.structs.replace(asked, by="id", id=_key(rows, view.schema.primary.name))
        rows = await proxy.query(row_call(asked, view, 0.0))
        key = _key(rows, view.schema.primary.name)
        vector = _vector(rows, field)
    else:
        raise InvalidParameter(f"search by {asked.by[:40]!r}: id, vector and random are allowed")
    call = search_call(asked, view, vector)
    recorder = Recorder(
        "Search",
        str(proxy.look.node),
        runtime.now_ns,
        f"{random.getrandbits(128):032x}",
        0,
        random.getrandbits(62) + 1,
    )
    before = recording(recorder)
    try:
        answer = await proxy.search(call)
    finally:
        recorded(before)
        recorder.end()
    trace = recorder.trace()
    columns, values = _columns(answer)
    keys = answer.keys if isinstance(answer.keys, list) else answer.keys.tolist()
    return Found(
        metric=answer.metric,
        columns=columns,
        hits=[
            Hit(str(hit), float(distance), [column[at] for column in values])
            for at, (hit, distance) in enumerate(zip(keys, answer.distances, strict=True))
        ],
        took_s=trace.root.duration_s,
        searched_with=key,
        missing=() if answer.coverage is None else answer.coverage.missing,
        explained=waterfall(trace),
    )


def _key(rows: QueryAnswer, name: str) -> str:
    """The only row's primary key."""
    if rows.columns is None or not rows.columns.num_rows:
        raise InvalidParameter("there is no such row; a deleted one is none")
    return str(rows.columns.column(name)[0].as_py())


def _vector(rows: QueryAnswer, field: FieldSchema) -> bytes:
    assert rows.columns is not None
    column = rows.columns.column(field.name)
    if column.null_count:
        raise InvalidParameter(f"that row has no vector in field {field.name!r}: it is null")
    return vector_view(column, field.dim)[:1].tobytes()


def _columns(answer: SearchAnswer) -> tuple[list[str], list[list[str]]]:
    """Names and values of the output columns, as texts."""
    if answer.columns is None:
        return [], []
    schema = answer.view.schema
    names = list(answer.columns.schema.names)
    values = []
    for name, column in zip(names, answer.columns.columns, strict=True):
        field = schema.by_name.get(name)
        is_vector = field is not None and field.type.is_vector
        values.append(
            _vectors(column, field) if is_vector else [_text(v) for v in column.to_pylist()]
        )
    return names, values


def _vectors(column: pa.Array, field: FieldSchema | None) -> list[str]:
    assert field is not None
    block = vector_view(column, field.dim)
    more = ", …" if field.dim > _FEW_NUMBERS else ""
    return [
        "null"
        if column[at].as_py() is None
        else f"[{', '.join(f'{n:.4g}' for n in row[:_FEW_NUMBERS])}{more}] ({field.dim})"
        for at, row in enumerate(block)
    ]


def _text(value: Any) -> str:
    if value is None:
        return "null"
    said = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return said if len(said) <= MOST_TEXT else said[:MOST_TEXT] + "…"
