"""Writes: checked here, encoded once, sent to the leader with a token."""

from __future__ import annotations

import pyarrow as pa

from mishards.core.columns import auto_ids, encode_batch, primary_key_type
from mishards.core.errors import InternalError, PartitionNotFound
from mishards.core.ids import MetadataVersion, PartitionId
from mishards.core.runtime import Runtime
from mishards.expr import compile_filter
from mishards.metadata.models import DEFAULT_PARTITION, ConsistencyLevel
from mishards.metadata.snapshot import CollectionView
from mishards.observability.tracing import current
from mishards.proxy.calls import DeleteCall, InsertCall, QueryCall, WriteAnswer
from mishards.proxy.leader import Leaders
from mishards.proxy.query import QueryPath
from mishards.proxy.rows import check_rows
from mishards.proxy.state import ProxyState
from mishards.rpc.messages import Write, Written

TOKEN_BYTES = 16


class WritePath:
    """The proxy's inserts, upserts and deletes."""

    def __init__(
        self, runtime: Runtime, state: ProxyState, leaders: Leaders, queries: QueryPath
    ) -> None:
        self._runtime = runtime
        self._state = state
        self._leaders = leaders
        self._queries = queries

    async def insert(self, call: InsertCall) -> WriteAnswer:
        """Rows appended; nothing is stored when one of them is refused."""
        snapshot = self._state.snapshot
        view = snapshot.resolve(call.database, call.collection)
        return await self._write_rows(view, snapshot.version, call, None)

    async def upsert(self, call: InsertCall) -> WriteAnswer:
        """Rows that replace those of equal primary key, in one step."""
        snapshot = self._state.snapshot
        view = snapshot.resolve(call.database, call.collection)
        keys = call.keys
        if keys is None:
            keys = call.batch.column(view.schema.primary.name)
        return await self._write_rows(view, snapshot.version, call, keys)

    async def _write_rows(
        self,
        view: CollectionView,
        version: MetadataVersion,
        call: InsertCall,
        keys: pa.Array | None,
    ) -> WriteAnswer:
        recorder = current()
        if recorder is not None:
            recorder.begin("check_rows")
        check_rows(call.batch, view.schema)
        rows = call.batch.num_rows
        message = Write(
            token=self._runtime.random.randbytes(TOKEN_BYTES),
            collection=view.id,
            log=view.meta.log_id,
            version=version,
            partition=_partition(view, call.partition or DEFAULT_PARTITION),
            rows=encode_batch(call.batch),
            row_count=rows,
            keys=b"" if keys is None else _encode_keys(view, keys),
            key_count=0 if keys is None else len(keys),
        )
        written = await self._send(message, call.timeout_s)
        if written.auto_id_start is None:
            stored = call.batch.column(view.schema.primary.name)
        else:
            stored = auto_ids(view.schema, written.auto_id_start, rows)
        return WriteAnswer(timestamp=written.timestamp, keys=stored, count=rows)

    async def delete(self, call: DeleteCall) -> WriteAnswer:
        """The rows of a filter deleted: by key where it names keys, else by asking for them."""
        deadline_s = self._runtime.monotonic_s() + call.timeout_s
        snapshot = self._state.snapshot
        view = snapshot.resolve(call.database, call.collection)
        partition = _partition(view, call.partition) if call.partition else PartitionId(0)
        selection = compile_filter(call.filter, view.schema, call.templates)
        named = selection.primary_keys()
        keys = (
            await self._matching_keys(view, call)
            if named is None
            else pa.array(named, primary_key_type(view.schema))
        )
        if len(keys) == 0:
            return WriteAnswer(
                timestamp=self._state.log(view.meta.log_id).timestamp, keys=keys, count=0
            )
        message = Write(
            token=self._runtime.random.randbytes(TOKEN_BYTES),
            collection=view.id,
            log=view.meta.log_id,
            version=snapshot.version,
            partition=partition,
            keys=_encode_keys(view, keys),
            key_count=len(keys),
        )
        written = await self._send(message, deadline_s - self._runtime.monotonic_s())
        return WriteAnswer(timestamp=written.timestamp, keys=keys, count=len(keys))

    async def _matching_keys(self, view: CollectionView, call: DeleteCall) -> pa.Array:
        answer = await self._queries.query(
            QueryCall(
                database=call.database,
                collection=call.collection,
                timeout_s=call.timeout_s,
                partitions=(call.partition,) if call.partition else (),
                filter=call.filter,
                templates=call.templates,
                output=(view.schema.primary.name,),
                consistency=ConsistencyLevel.STRONG,
            )
        )
        if answer.columns is None:
            raise InternalError("a query for keys came back without columns")
        return answer.columns.column(view.schema.primary.name)

    async def _send(self, message: Write, timeout_s: float) -> Written:
        if (recorder := current()) is not None:
            recorder.begin("do_write").attributes = {
                "log": message.log,
                "rows": message.row_count,
                "keys": message.key_count,
                "bytes": len(message.rows) + len(message.keys),
            }
        answer = await self._leaders.of(message.log).call(message, timeout_s)
        if not isinstance(answer, Written):
            raise InternalError(f"the writer answered {type(answer).__name__} to Write")
        return answer


def _partition(view: CollectionView, name: str) -> PartitionId:
    partition = view.meta.partition_by_name.get(name)
    if partition is None:
        raise PartitionNotFound(f"partition {name!r} not found in collection {view.name!r}")
    return partition.id


def _encode_keys(view: CollectionView, keys: pa.Array) -> bytes:
    return encode_batch(pa.RecordBatch.from_arrays([keys], names=[view.schema.primary.name]))
