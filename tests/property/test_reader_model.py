"""A reader's answers equal those of a dictionary with timestamps, whatever happens in between.

Rows are inserted, upserted, deleted, sealed into segments and given indexes, in any order; reads
are made at any timestamp that the sealing has not made one with later ones, on the newest plan and
on older ones.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mishards.core.columns import decode_batch
from mishards.core.ids import IndexId, PartitionId, Timestamp
from mishards.core.schema import Metric
from mishards.metadata.models import SegmentMeta
from mishards.rpc.messages import Query, ReadPoint
from mishards.testing.reader_bench import (
    DIM,
    OTHER_PARTITION,
    PARTITION,
    Bench,
    make_rows,
    make_schema,
    run_bench,
)
from mishards.writer.compaction_edit import needed

KEYS = st.lists(st.integers(0, 12), min_size=1, max_size=6, unique=True)
PARTITIONS = st.sampled_from([PARTITION, OTHER_PARTITION])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), KEYS, PARTITIONS),
        st.tuples(st.just("insert"), st.integers(1, 5), PARTITIONS),
        st.tuples(st.just("delete"), KEYS, st.sampled_from([0, PARTITION, OTHER_PARTITION])),
        st.tuples(st.just("seal"), st.floats(0, 1)),
        st.tuples(st.just("index"), st.integers(0, 3)),
        st.tuples(st.just("compact"), st.booleans()),
        st.tuples(
            st.just("read"), st.floats(0, 1), st.integers(1, 8), st.booleans(), st.booleans()
        ),
    ),
    min_size=3,
    max_size=25,
)


class Row(NamedTuple):
    key: Any
    vector: tuple[float, ...]
    size: int
    timestamp: int
    partition: PartitionId


class Model:
    """All rows and deletes ever made, and which segments hold what."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.deletes: list[tuple[Any, int, int]] = []
        self.sealed: dict[int, list[Row]] = {}

    def visible(self, row: Row, at: int) -> bool:
        return row.timestamp <= at and not any(
            key == row.key and row.timestamp < ts <= at and partition in (0, row.partition)
            for key, ts, partition in self.deletes
        )

    def top(self, query: Any, k: int, at: int, metric: Metric, least: int) -> list[Any]:
        scored = []
        for row in self.rows:
            if self.visible(row, at) and row.size >= least:
                scored.append((_distance(query, row.vector, metric), row.key))
        scored.sort()
        return [key for _, key in scored[:k]]


def _distance(query: Any, vector: Any, metric: Metric) -> float:
    one, other = np.asarray(query, np.float64), np.asarray(vector, np.float64)
    if metric is Metric.L2:
        return float(((one - other) ** 2).sum())
    if metric is Metric.COSINE:
        one, other = one / np.linalg.norm(one), other / np.linalg.norm(other)
    return -float(one @ other)


class Walk:
    """Plays steps on a reader and on the model, and compares what they answer."""

    def __init__(self, bench: Bench, text_keys: bool, seed: int) -> None:
        self.bench = bench
        self.model = Model()
        self.text_keys = text_keys
        self.random = np.random.default_rng(seed)
        self.fresh = 100
        self.old_plans: list[tuple[ReadPoint, int]] = []

    def key(self, number: int) -> Any:
        return f"k{number:04}" if self.text_keys else number

    def add(self, numbers: list[int], partition: PartitionId, *, replace: bool) -> None:
        vectors = self.random.normal(size=(len(numbers), DIM)).astype(np.float32)
        sizes = self.random.integers(0, 4, len(numbers)).tolist()
        keys = [self.key(number) for number in numbers]
        batch = make_rows(self.bench.schema, keys, vectors, sizes=sizes)
        at = self.bench.write(batch, keys if replace else (), partition=partition)
        if replace:
            self.model.deletes += [(key, at, 0) for key in keys]
        for key, vector, size in zip(keys, vectors, sizes, strict=True):
            self.model.rows.append(Row(key, tuple(vector.tolist()), size, at, partition))

    async def step(self, step: tuple[Any, ...]) -> None:
        match step:
            case "upsert", numbers, partition:
                self.add(numbers, partition, replace=True)
            case "insert", count, partition:
                self.add(list(range(self.fresh, self.fresh + count)), partition, replace=False)
                self.fresh += count
            case "delete", numbers, partition:
                keys = [self.key(number) for number in numbers]
                at = self.bench.write(keys=keys, partition=partition)
                self.model.deletes += [(key, at, partition) for key in keys]
            case "seal", share:
                await self.seal(share)
            case "index", number:
                await self.index(number)
            case "compact", fold:
                await self.compact(fold)
            case "read", share, k, growing_only, filtered:
                await self.read(share, k, growing_only, filtered)

    async def seal(self, share: float) -> None:
        """Seal all rows up to a moment that live then, in one step of metadata."""
        bench = self.bench
        plan = (bench.at(), bench.now)
        old = bench.checkpoint
        checkpoint = Timestamp(int(old + share * (bench.now - old)))
        changed: list[Any] = []
        for partition in (PARTITION, OTHER_PARTITION):
            rows = [
                row
                for row in self.model.rows
                if old < row.timestamp <= checkpoint
                and row.partition == partition
                and self.model.visible(row, checkpoint)
            ]
            if rows:
                changed.append(await self.segment(rows, partition))
        for partition in (0, PARTITION, OTHER_PARTITION):
            deletes = [
                (key, ts)
                for key, ts, where in self.model.deletes
                if old < ts <= checkpoint and where == partition
            ]
            if deletes:
                keys, stamps = zip(*deletes, strict=True)
                bench.deletes += (await bench.delete_file(keys, stamps, partition),)
        self.old_plans.append(plan)
        bench.checkpoint = checkpoint
        bench.commit(bench.meta(), *changed)

    async def segment(self, rows: list[Row], partition: PartitionId) -> SegmentMeta:
        bench = self.bench
        batch = make_rows(
            bench.schema,
            [r.key for r in rows],
            [r.vector for r in rows],
            sizes=[r.size for r in rows],
        )
        meta = await bench.segment(batch, [row.timestamp for row in rows], partition)
        self.model.sealed[meta.id] = rows
        return meta

    async def compact(self, fold: bool) -> None:
        """Make one segment of all those of a partition; with `fold`, deletes are folded in, and
        those that no segment needs any more are let go."""
        bench = self.bench
        old = [s for s in bench.segments.values() if s.partition_id == PARTITION]
        if len(old) < 2:
            return
        plan = (bench.at(), bench.now)
        rows = [row for segment in old for row in self.model.sealed[segment.id]]
        if fold:
            rows = [row for row in rows if self.model.visible(row, bench.checkpoint)]
        for segment in old:
            del bench.segments[segment.id]
        changed = [await self.segment(rows, PARTITION)] if rows else []
        if fold:
            changed = [msgspec.structs.replace(one, folded=bench.checkpoint) for one in changed]
            bench.segments.update({one.id: one for one in changed})
            bench.deletes = needed(bench.deletes, tuple(bench.segments.values()))
        self.old_plans.append(plan)
        bench.commit(bench.meta(), *changed, deletes=tuple(s.key for s in old))

    async def index(self, number: int) -> None:
        bench = self.bench
        segments = list(bench.segments.values())
        if not segments or bench.index is None:
            return
        segment = segments[number % len(segments)]
        rows = sorted(self.model.sealed[segment.id], key=lambda row: (row.key, row.timestamp))
        if not segment.indexes and bench.index.family != "FLAT":
            bench.commit(await bench.build(segment, [r.vector for r in rows], bench.index))

    async def read(self, share: float, k: int, growing_only: bool, filtered: bool) -> None:
        bench = self.bench
        at = Timestamp(int(bench.checkpoint + share * (bench.now - bench.checkpoint)))
        await self.compare(bench.at(read_ts=at), at, k, filtered)
        for plan, moment in self.old_plans:
            if all(segment in self.known for segment in plan.segments):
                await self.compare(plan, moment, k, filtered)

    @property
    def known(self) -> set[int]:
        """Segments the reader can serve: old ones only while they are open."""
        return {*self.bench.segments, *self.bench.reader.status().segments}

    async def compare(self, plan: ReadPoint, moment: int, k: int, filtered: bool) -> None:
        bench, model = self.bench, self.model
        least = 2 if filtered else 0
        text = "size >= 2" if filtered else ""
        queries = self.random.normal(size=(2, DIM)).astype(np.float32)
        found = await bench.search(queries, k, at=plan, filter=text)
        expected = [model.top(query, k, moment, bench.metric, least) for query in queries]
        assert [[key for key, _ in hits] for hits in found] == expected
        rows = await bench.call(Query(at=plan, filter=text, output=("size",)))
        wanted = sorted(
            (row.key, row.size)
            for row in model.rows
            if model.visible(row, moment) and row.size >= least
        )
        columns = decode_batch(rows.columns).to_pydict()
        assert list(zip(columns["id"], columns["size"], strict=True)) == wanted
        counted = await bench.call(Query(at=plan, filter=text, count=True))
        assert counted.count == len(wanted)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
@given(
    steps=STEPS,
    text_keys=st.booleans(),
    metric=st.sampled_from(list(Metric)),
    family=st.sampled_from(["FLAT", "HNSW"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_reader_answers_as_a_dictionary_would(
    steps: list[tuple[Any, ...]], text_keys: bool, metric: Metric, family: str, seed: int
) -> None:
    async def test(bench: Bench) -> None:
        if family == "HNSW":
            bench.index = bench.index_meta("HNSW", IndexId(501))
            bench.commit(bench.meta())
        walk = Walk(bench, text_keys, seed)
        for step in steps:
            await walk.step(step)
            await bench.settle()
        await walk.read(1.0, 5, False, False)

    with tempfile.TemporaryDirectory() as folder:
        run_bench(Path(folder), test, schema=make_schema(text_keys=text_keys), metric=metric)
