"""Index builds: what is missing is built, small segments are spared, failures are repeated, and no
process outlives its writer."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest

from mishards.core import errors
from mishards.core.runtime import SystemRuntime
from mishards.core.schema import Metric
from mishards.index.registry import family
from mishards.metadata.snapshot import CollectionView
from mishards.rpc.messages import CreateIndex, DropIndex
from mishards.testing.writer_bench import (
    Bench,
    NullBuilder,
    ask,
    bench_open,
    flush,
    insert,
    make_schema,
    until,
)
from mishards.writer.build_job import BuildJob, InlineBuilder
from mishards.writer.build_process import SubprocessBuilder
from mishards.writer.writer import Writer


def _index(**params: str) -> CreateIndex:
    return CreateIndex(database="", collection="c", field="v", params=params)


async def _sealed(bench: Bench, rows: int = 20, **settings: Any) -> tuple[Writer, CollectionView]:
    writer = await bench.writer(**{"build_min_rows": 10, **settings})
    view = await bench.collection(writer, make_schema())
    await insert(writer, view, list(range(rows)))
    await flush(writer, view.id)
    return writer, view


async def _built(bench: Bench) -> list[str]:
    view = await bench.view()
    return [one.name for segment in view.segments.values() for one in segment.indexes]


async def _wait_built(bench: Bench, names: int = 1) -> None:
    async with asyncio.timeout(20):
        while len(await _built(bench)) < names:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def test_an_index_asked_for_later_is_built_and_named() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _sealed(bench)
            await ask(writer, _index(index_type="HNSW", M="8"))
            await _wait_built(bench)
            (segment,) = (await bench.view()).segments.values()
            (built,) = segment.indexes
            index = (await bench.view()).meta.index_by_field["v"]
            assert re.fullmatch(rf"101\.{index.id}\.\d+\.index", built.name)
            assert await bench.store.get(f"{segment.folder}/{built.name}") == b"index"
            assert built.size_bytes == 5
            (job,) = bench.builder.jobs
            assert (job.rows, job.dim, job.family) == (20, 4, "HNSW")
            assert job.params["M"] == "8"
            assert view.id == segment.collection_id

    asyncio.run(scene())


def test_segments_sealed_later_are_built_too_and_after_a_restart() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _sealed(bench, build_workers=0)
            await ask(writer, _index())
            await insert(writer, view, list(range(100, 120)))
            await flush(writer, view.id)
            await writer.close()
            assert await _built(bench) == []
            await bench.writer("w2", build_min_rows=10, build_workers=2)
            await _wait_built(bench, 2)

    asyncio.run(scene())


def test_small_segments_and_flat_indexes_need_nothing() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view = await _sealed(bench, rows=5)
            await ask(writer, _index())
            await insert(writer, view, list(range(100, 120)))
            await flush(writer, view.id)
            await _wait_built(bench)
            await ask(writer, DropIndex(database="", collection="c", name="v"))
            await ask(writer, _index(index_type="FLAT"))
            await insert(writer, view, list(range(200, 220)))
            await flush(writer, view.id)
            await asyncio.sleep(0)
            assert [job.rows for job in bench.builder.jobs] == [20]

    asyncio.run(scene())


def test_a_failed_build_is_tried_again() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            bench.builder = NullBuilder(failures=2)
            writer, _ = await _sealed(bench, build_retry_s=0.001)
            await ask(writer, _index())
            await _wait_built(bench)
            assert len(bench.builder.jobs) == 3
            assert writer.leads

    asyncio.run(scene())


def test_a_new_index_replaces_what_was_built_for_the_old() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, _ = await _sealed(bench)
            await ask(writer, _index())
            await _wait_built(bench)
            (old,) = await _built(bench)
            await ask(writer, DropIndex(database="", collection="c", name="v"))
            await ask(writer, _index(metric_type="L2"))
            await until(lambda: len(bench.builder.jobs) == 2)
            async with asyncio.timeout(20):
                while (await _built(bench)) == [old]:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            assert len(await _built(bench)) == 1

    asyncio.run(scene())


def _job(tmp_path: Path, rows: int = 50, **settings: Any) -> tuple[BuildJob, np.ndarray[Any, Any]]:
    vectors = np.random.default_rng(1).random((rows, 8), dtype=np.float32)
    (tmp_path / "v").write_bytes(vectors.tobytes())
    job = BuildJob(
        **{
            "vectors": str(tmp_path / "v"),
            "rows": rows,
            "dim": 8,
            "metric": Metric.L2,
            "family": "HNSW",
            "params": {"M": "8", "efConstruction": "40"},
            "output": str(tmp_path / "out"),
            "threads": 1,
            **settings,
        }
    )
    return job, vectors


@pytest.mark.parametrize("kind", ["inline", "process"])
def test_a_builder_leaves_a_file_that_finds(tmp_path: Path, kind: str) -> None:
    job, vectors = _job(tmp_path)

    async def scene() -> None:
        runtime = SystemRuntime(threads=1)
        builder = InlineBuilder(runtime) if kind == "inline" else SubprocessBuilder()
        await builder.build(job)
        await runtime.close()

    asyncio.run(scene())
    found = family("HNSW").open(Path(job.output), Metric.L2)
    _, offsets = found.search(vectors[:5], 1, {"ef": 50}, None, 50)
    assert offsets[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_a_failing_process_says_why(tmp_path: Path) -> None:
    job, _ = _job(tmp_path, dim=9)
    with pytest.raises(errors.InternalError, match=r"CorruptObject.*needs 1800"):
        asyncio.run(SubprocessBuilder().build(job))
    assert not Path(job.output).exists()


def test_a_cancelled_build_leaves_no_process(tmp_path: Path) -> None:
    job, _ = _job(tmp_path, rows=100_000, params={"M": "64", "efConstruction": "2000"})

    async def scene() -> None:
        task = asyncio.create_task(SubprocessBuilder().build(job))
        # At its low priority it is past its start, which cancels in a way of its own.
        await until(lambda: any(one.nice() == 19 for one in _workers()))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scene())
    assert not _workers()


def test_a_worker_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    job, _ = _job(tmp_path, rows=100_000, params={"M": "64", "efConstruction": "2000"})
    script = (
        "import asyncio, sys, msgspec\n"
        "from mishards.writer.build_job import BuildJob\n"
        "from mishards.writer.build_process import SubprocessBuilder\n"
        "job = msgspec.json.decode(sys.argv[1], type=BuildJob)\n"
        "asyncio.run(SubprocessBuilder().build(job))\n"
    )
    encoded = msgspec.json.encode(job).decode()
    with subprocess.Popen([sys.executable, "-c", script, encoded]) as parent:
        asyncio.run(until(lambda: bool(_workers(parent.pid))))
        workers = _workers(parent.pid)
        parent.kill()
    gone, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive
    assert gone


def _workers(pid: int | None = None) -> list[psutil.Process]:
    """Living build workers started by a process."""
    children = psutil.Process(pid or os.getpid()).children()
    living = [one for one in children if one.status() != psutil.STATUS_ZOMBIE]
    return [one for one in living if "mishards.writer.build_worker" in one.cmdline()]
