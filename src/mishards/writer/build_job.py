"""One index build, and what runs builds and merges of segments.

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
from mishards.metadata.models import SegmentMeta
from mishards.writer.merging import MergeJob, SurveyJob, merge, survey


class BuildJob(msgspec.Struct, frozen=True, kw_only=True, tag="build"):
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


Job = BuildJob | MergeJob | SurveyJob


class Builder(Protocol):
    """Does what takes long. From the loop's thread; cancelling ends the work and leaves no
    process.

    All methods raise:
        StorageError, CorruptObject: the files cannot be read or written.
        InternalError: the work failed; carries its last words.
    """

    async def build(self, job: BuildJob) -> None:
        """Write the index `job.output`."""

    async def merge(self, job: MergeJob) -> tuple[SegmentMeta, ...]:
        """Write segments below `job.output`; see `merging.merge`."""

    async def survey(self, job: SurveyJob) -> tuple[int, ...]:
        """Count hidden rows; see `merging.survey`."""


class InlineBuilder:
    """Builds in a thread of this process: for tests, the simulation, small instances."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def build(self, job: BuildJob) -> None:
        await self._runtime.blocking(run_job, job)

    async def merge(self, job: MergeJob) -> tuple[SegmentMeta, ...]:
        return await self._runtime.blocking(merge, job)

    async def survey(self, job: SurveyJob) -> tuple[int, ...]:
        return await self._runtime.blocking(survey, job)


def run_job(job: Job) -> tuple[SegmentMeta, ...] | tuple[int, ...] | None:
    """Do a job in the calling thread; gives its result.

    Raises:
        CorruptObject: a file is not what the job says.
        OSError: a file cannot be read or written.
    """
    match job:
        case MergeJob():
            return merge(job)
        case SurveyJob():
            return survey(job)
        case BuildJob():
            _build(job)
            return None


def _build(job: BuildJob) -> None:
    path = Path(job.vectors)
    expected = job.rows * job.dim * 4
    if (size := path.stat().st_size) != expected:
        raise CorruptObject(
            f"vectors file {path} has {size} bytes; {job.rows} × {job.dim} needs {expected}"
        )
    vectors = np.memmap(path, dtype="<f4", mode="r", shape=(job.rows, job.dim))
    threads = job.threads or os.cpu_count() or 1
    family(job.family).build(vectors, job.metric, job.params, Path(job.output), threads)
