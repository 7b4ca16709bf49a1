"""One index build, and what runs it.

A builder may work in this process or another; either way what it gets and leaves are files.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np

from mishards.core.errors import CorruptObject
from mishards.core.runtime import Runtime
from mishards.core.schema import Metric
from mishards.index.registry import family


class BuildJob(msgspec.Struct, frozen=True, kw_only=True):
    """An index to build.

    Attributes:
        vectors: path of raw little-endian float32, row after row.
        output: path of the file to write.
        threads: 0 means all processors.
    """

    vectors: str
    rows: int
    dim: int
    metric: Metric
    family: str
    params: dict[str, str]
    output: str
    threads: int = 0


class IndexBuilder(Protocol):
    """Runs builds. From the loop's thread."""

    async def build(self, job: BuildJob) -> None:
        """Write `job.output`; cancelling ends the build and leaves no process.

        Raises:
            StorageError, CorruptObject: the files cannot be read or written.
            InternalError: the build failed; carries its last words.
        """


class InlineBuilder:
    """Builds in a thread of this process: for tests, the simulation, small instances."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def build(self, job: BuildJob) -> None:
        await self._runtime.blocking(run_job, job)


def run_job(job: BuildJob) -> None:
    """Build in the calling thread.

    Raises:
        CorruptObject: the vectors are not as many as stated.
        OSError: a file cannot be read or written.
    """
    path = Path(job.vectors)
    expected = job.rows * job.dim * 4
    if (size := path.stat().st_size) != expected:
        raise CorruptObject(
            f"vectors file {path} has {size} bytes; {job.rows} × {job.dim} needs {expected}"
        )
    vectors = np.memmap(path, dtype="<f4", mode="r", shape=(job.rows, job.dim))
    threads = job.threads or os.cpu_count() or 1
    family(job.family).build(vectors, job.metric, job.params, Path(job.output), threads)
