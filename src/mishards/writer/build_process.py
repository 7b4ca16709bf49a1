"""Index builds and merges of segments in processes of their own, at low priority."""

from __future__ import annotations

import asyncio
import sys
from typing import TypeVar

import msgspec

from mishards.core.errors import InternalError, StorageError
from mishards.metadata.models import SegmentMeta
from mishards.writer.build_job import BuildJob, Job
from mishards.writer.merging import MergeJob, SurveyJob

_MOST_WORDS = 2000

R = TypeVar("R")


class SubprocessBuilder:
    """Runs `mishards.writer.build_worker`, which ends when this process does."""

    async def build(self, job: BuildJob) -> None:
        await _run(job, f"index build of {job.output!r}", type(None))

    async def merge(self, job: MergeJob) -> tuple[SegmentMeta, ...]:
        return await _run(job, f"merge to {job.output!r}", tuple[SegmentMeta, ...])

    async def survey(self, job: SurveyJob) -> tuple[int, ...]:
        return await _run(job, "survey of segments", tuple[int, ...])


async def _run(job: Job, what: str, answer: type[R]) -> R:
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "mishards.writer.build_worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise StorageError(f"cannot start an {what}: {error}") from error
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        # Not an argument: those are limited to 128 KiB. The pipe stays open, for the worker to
        # see by it that this process lives.
        process.stdin.write(msgspec.json.encode(job) + b"\n")
        given, words = await asyncio.gather(process.stdout.read(), process.stderr.read())
        code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        process.stdin.close()
    if code != 0:
        last = words.decode(errors="replace").strip()[-_MOST_WORDS:]
        raise InternalError(f"{what} ended with {code}: {last}")
    return msgspec.json.decode(given, type=answer)
