"""A proxy that records calls and gives back what it was told to, and a collection of all types."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from pymilvus import DataType as ClientType

from mishards.core.columns import arrow_schema
from mishards.core.errors import CollectionNotFound
from mishards.core.ids import CollectionId, DatabaseId, FieldId, Timestamp
from mishards.core.schema import CollectionSchema, DataType, FieldSchema, dynamic_field
from mishards.metadata.models import CollectionMeta
from mishards.metadata.snapshot import CollectionView
from mishards.proxy.calls import WriteAnswer
from mishards.proxy.rows import check_rows

DIM = 4
UPDATED = Timestamp(77)


def _field(number: int, name: str, kind: DataType, **options: Any) -> FieldSchema:
    return FieldSchema(id=FieldId(100 + number), name=name, type=kind, **options)


FIELDS = (
    _field(0, "id", DataType.INT64, primary_key=True),
    _field(1, "vector", DataType.FLOAT_VECTOR, dim=DIM),
    _field(2, "flag", DataType.BOOL),
    _field(3, "tiny", DataType.INT8),
    _field(4, "small", DataType.INT16),
    _field(5, "medium", DataType.INT32),
    _field(6, "big", DataType.INT64),
    _field(7, "single", DataType.FLOAT),
    _field(8, "double", DataType.DOUBLE),
    _field(9, "title", DataType.VARCHAR, max_length=20, nullable=True),
    _field(10, "details", DataType.JSON, nullable=True),
    _field(11, "tags", DataType.ARRAY, element_type=DataType.VARCHAR, max_length=8, max_capacity=3),
    _field(12, "marks", DataType.ARRAY, element_type=DataType.INT16, max_capacity=5, nullable=True),
    _field(13, "stars", DataType.INT32, has_default=True, default=5),
    _field(14, "second", DataType.FLOAT_VECTOR, dim=2, nullable=True),
    dynamic_field(FieldId(115)),
)


def client_field(field: FieldSchema) -> dict[str, Any]:
    """The field as pymilvus keeps it after describing a collection."""
    info: dict[str, Any] = {
        "name": field.name,
        "type": ClientType(int(field.type)),
        "params": {"dim": field.dim, "max_length": field.max_length},
        "is_primary": field.primary_key,
        "auto_id": field.auto_id,
    }
    if field.element_type is not None:
        info["element_type"] = ClientType(int(field.element_type))
    if field.nullable:
        info["nullable"] = True
    if field.has_default:
        info["default_value"] = field.default
    return info


def make_view(*fields: FieldSchema, name: str = "books") -> CollectionView:
    schema = CollectionSchema(name=name, fields=fields, dynamic=any(f.dynamic for f in fields))
    meta = CollectionMeta(
        id=CollectionId(9),
        database_id=DatabaseId(1),
        schema=schema,
        partitions=(),
        updated=UPDATED,
    )
    return CollectionView(meta=meta)


class FakeProxy:
    """Answers reads with `answer`; takes writes as a proxy does, checks included."""

    def __init__(self, view: CollectionView) -> None:
        self.view = view
        self.calls: list[Any] = []
        self.answer: Any = None

    @property
    def snapshot(self) -> FakeProxy:
        return self

    def resolve(self, database: str, name: str) -> CollectionView:
        if name != self.view.name:
            raise CollectionNotFound(f"collection {name!r} not found")
        return self.view

    def search_now(self, call: Any) -> Any:
        self.calls.append(call)
        return self.answer

    async def search(self, call: Any) -> Any:
        return self.search_now(call)

    async def query(self, call: Any) -> Any:
        return self.search_now(call)

    async def delete(self, call: Any) -> WriteAnswer:
        self.calls.append(call)
        return WriteAnswer(timestamp=Timestamp(7), keys=pa.array([1, 2]), count=2)

    async def insert(self, call: Any) -> WriteAnswer:
        check_rows(call.batch, self.view.schema)
        self.calls.append(call)
        rows = call.batch.num_rows
        primary = self.view.schema.primary
        keys = pa.array(range(rows)) if primary.auto_id else call.batch.column(primary.name)
        return WriteAnswer(timestamp=Timestamp(7), keys=keys, count=rows)

    upsert = insert


@pytest.fixture
def view() -> CollectionView:
    return make_view(*FIELDS)


@pytest.fixture
def proxy(view: CollectionView) -> FakeProxy:
    return FakeProxy(view)


@pytest.fixture
def plain_view() -> CollectionView:
    return make_view(*FIELDS[:2])


@pytest.fixture
def plain_proxy(plain_view: CollectionView) -> FakeProxy:
    return FakeProxy(plain_view)


@pytest.fixture
def auto_proxy() -> FakeProxy:
    primary = FieldSchema(
        id=FieldId(100), name="id", type=DataType.INT64, primary_key=True, auto_id=True
    )
    return FakeProxy(make_view(primary, FIELDS[1]))


@pytest.fixture
def client_fields(view: CollectionView) -> list[dict[str, Any]]:
    """What pymilvus knows of the collection: the dynamic field is not among the fields."""
    return [client_field(field) for field in view.schema.fields if not field.dynamic]


def full_row(key: int, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": key,
        "vector": [float(key), 1.0, 2.0, 3.0],
        "flag": key % 2 == 0,
        "tiny": -key,
        "small": 300 + key,
        "medium": 70_000 + key,
        "big": 1 << 40 | key,
        "single": 0.5 * key,
        "double": 0.1 * key,
        "title": f"title {key}",
        "details": {"k": key},
        "tags": ["a", "b"],
        "marks": [key, -1],
        "stars": 3,
        "second": [1.0, float(key)],
    }
    row.update(changes)
    return row


@pytest.fixture
def make_row() -> Any:
    return full_row


@pytest.fixture
def full_batch(view: CollectionView) -> pa.RecordBatch:
    """Three rows of the collection of all types; the second one is null where it may be."""
    rows = [full_row(1), full_row(2), full_row(3)]
    for name in ("title", "details", "marks", "second"):
        rows[1][name] = None
    for row in rows:
        details = row["details"]
        row["details"] = None if details is None else b'{"k":%d}' % details["k"]
        row["$meta"] = b'{"color":"red","size":%d}' % row["id"]
    schema = arrow_schema(view.schema)
    columns = [pa.array([row[f.name] for row in rows], f.type) for f in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
