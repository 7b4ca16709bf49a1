"""What the collection of a simulated cluster is like, and rows as the proxy takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pyarrow as pa

from mishards.core.columns import arrow_schema
from mishards.core.ids import FieldId
from mishards.core.schema import CollectionSchema, DataType, FieldSchema, Metric
from mishards.testing.history import GROUP_FIELD, KEY_FIELD, STAMP_FIELD, VECTOR_FIELD, Row

COLLECTION = "simulated"
DIM = 4


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What the collection is like.

    Attributes:
        log: that it belongs to; others before it have a collection each too.
    """

    text_keys: bool = False
    metric: Metric = Metric.L2
    index: str = "FLAT"
    replicas: int = 1
    log: int = 0

    @property
    def schema(self) -> CollectionSchema:
        kind = DataType.VARCHAR if self.text_keys else DataType.INT64
        return CollectionSchema(
            name=COLLECTION,
            fields=(
                FieldSchema(
                    id=FieldId(100),
                    name=KEY_FIELD,
                    type=kind,
                    primary_key=True,
                    max_length=32 if self.text_keys else 0,
                ),
                FieldSchema(id=FieldId(101), name=GROUP_FIELD, type=DataType.INT64),
                FieldSchema(id=FieldId(102), name=STAMP_FIELD, type=DataType.INT64),
                FieldSchema(
                    id=FieldId(103), name=VECTOR_FIELD, type=DataType.FLOAT_VECTOR, dim=DIM
                ),
            ),
        )

    @property
    def index_params(self) -> dict[str, str]:
        """Of an exact search: all cells of an inverted file are looked at."""
        params = {"index_type": self.index, "metric_type": str(self.metric)}
        return {**params, "nlist": "2"} if self.index.startswith("IVF") else params

    @property
    def search_params(self) -> dict[str, Any]:
        return {"nprobe": 2} if self.index.startswith("IVF") else {}


def batch_of(rows: Sequence[Row], schema: CollectionSchema) -> pa.RecordBatch:
    """Rows as the proxy takes them."""
    whole = arrow_schema(schema)
    columns = {
        KEY_FIELD: [row.key for row in rows],
        GROUP_FIELD: [row.group for row in rows],
        STAMP_FIELD: [row.stamp for row in rows],
        VECTOR_FIELD: [list(row.vector) for row in rows],
    }
    return pa.RecordBatch.from_pydict(columns, schema=whole)
