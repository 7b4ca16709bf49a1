"""Whether a mutation may enter the log: what it names exists, and its bytes are what it says.

Rows were checked value by value at the proxy; here only their shape is, so that nothing can enter
the log that could not be sealed.
"""

from __future__ import annotations

import pyarrow as pa

from mishards.core.columns import arrow_schema, check_batch, decode_batch, primary_key_type
from mishards.core.errors import (
    CollectionNotFound,
    InvalidParameter,
    InvalidRow,
    PartitionNotFound,
    ProtocolError,
)
from mishards.core.schema import CollectionSchema
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.rpc.messages import Raw, Write

TOKEN_BYTES = 16


def check_target(snapshot: MetadataSnapshot, message: Write) -> CollectionView:
    """The collection of a mutation.

    Raises:
        CollectionNotFound, PartitionNotFound: it is gone, or never was.
        ProtocolError: its mutations belong into another log.
    """
    view = snapshot.collections.get(message.collection)
    if view is None:
        raise CollectionNotFound(f"collection not found[collection={message.collection}]")
    if view.meta.log_id != message.log:
        raise ProtocolError(
            f"a mutation of collection {view.id} came to log {message.log}, not {view.meta.log_id}"
        )
    if (message.row_count or message.partition) and not any(
        partition.id == message.partition for partition in view.meta.partitions
    ):
        raise PartitionNotFound(
            f"partition not found[partition={message.partition}] in collection {view.name!r}"
        )
    return view


def check_write(snapshot: MetadataSnapshot, message: Write) -> None:
    """Refuse a mutation that cannot be applied.

    Raises:
        InvalidParameter, InvalidRow, CollectionNotFound, PartitionNotFound.
    """
    if len(message.token) != TOKEN_BYTES:
        raise InvalidParameter(
            f"invalid token of {len(message.token)} bytes; {TOKEN_BYTES} are required"
        )
    if not message.row_count and not message.key_count:
        raise InvalidParameter("a write without rows and keys; at least one of them is required")
    schema = check_target(snapshot, message).schema
    if message.row_count:
        allowed = [arrow_schema(schema)]
        if schema.primary.auto_id:
            allowed.append(arrow_schema(schema, with_auto_id=False))
        _check_batch("rows", message.rows, message.row_count, allowed, schema)
    if message.key_count:
        name = schema.primary.name
        keys = [
            pa.schema([pa.field(name, primary_key_type(schema), nullable=nullable)])
            for nullable in (False, True)
        ]
        _check_batch("keys", message.keys, message.key_count, keys, schema)


def _check_batch(
    kind: str, data: Raw, count: int, allowed: list[pa.Schema], schema: CollectionSchema
) -> None:
    try:
        batch = decode_batch(data)
        check_batch(batch)
    except ProtocolError as error:
        raise InvalidRow(
            f"{kind} for collection {schema.name!r} are no record batch: {error.message}"
        ) from error
    if batch.num_rows != count:
        raise InvalidRow(
            f"{batch.num_rows} {kind} for collection {schema.name!r}, announced as {count}"
        )
    if not any(batch.schema.equals(one) for one in allowed):
        raise InvalidRow(
            f"{kind} for collection {schema.name!r} have the columns "
            f"{_columns(batch.schema)}; required are {_columns(allowed[0])}"
        )


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)
