"""A measured metadata store tells how it answered, and whether it did."""

from __future__ import annotations

import asyncio

import pytest

from mishards.core.errors import MetadataConflict, MetadataUnavailable
from mishards.core.ids import DDL_LOG, Epoch, MetadataVersion
from mishards.core.runtime import SystemRuntime
from mishards.metadata.measured import MeasuredMetadata
from mishards.metadata.memory import MemoryMetadataStore
from mishards.observability.instruments import Metrics
from mishards.observability.metrics import METADATA_OPERATIONS, METADATA_SECONDS, METADATA_UP


class Away(MemoryMetadataStore):
    """Cannot be reached while `away`."""

    away = False

    async def version(self) -> MetadataVersion:
        if self.away:
            raise MetadataUnavailable("away")
        return await super().version()


def test_refused_commits_are_answers_and_failures_are_not() -> None:
    metrics = Metrics()

    def numbers(metric):  # type: ignore[no-untyped-def]
        return {one.metric: one.numbers for one in metrics.values()}[metric]

    async def main() -> None:
        runtime, under = SystemRuntime(threads=1), Away()
        store = MeasuredMetadata(under, metrics, runtime)
        await store.open("")
        await store.begin_epoch(DDL_LOG, Epoch(1))
        await store.commit(DDL_LOG, Epoch(1), MetadataVersion(0), {"a": b"1"})
        with pytest.raises(MetadataConflict):
            await store.commit(DDL_LOG, Epoch(1), MetadataVersion(0), {"a": b"2"})
        assert numbers(METADATA_UP) == {(): 1}
        under.away = True
        with pytest.raises(MetadataUnavailable):
            await store.version()
        assert numbers(METADATA_UP) == {(): 0}
        under.away = False
        assert await store.version() == 1
        assert numbers(METADATA_UP) == {(): 1}
        await runtime.close()

    asyncio.run(main())
    assert numbers(METADATA_OPERATIONS) == {
        ("open", "ok"): 1,
        ("begin_epoch", "ok"): 1,
        ("commit", "ok"): 1,
        ("commit", "refused"): 1,
        ("version", "failed"): 1,
        ("version", "ok"): 1,
    }
    times = {one.metric: one.histograms for one in metrics.values()}[METADATA_SECONDS]
    assert sum(times[("commit",)][0]) == 2
