"""Index builds in processes of their own, at low priority."""

from __future__ import annotations

import asyncio
import sys

import msgspec

from mishards.core.errors import InternalError, StorageError
from mishards.writer.build_job import BuildJob

_MOST_WORDS = 2000


class SubprocessBuilder:
    """Runs `mishards.writer.build_worker`, which ends when this process does."""

    async def build(self, job: BuildJob) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "mishards.writer.build_worker",
                msgspec.json.encode(job).decode(),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise StorageError(f"cannot start an index build: {error}") from error
        assert process.stdin is not None
        assert process.stderr is not None
        try:
            words = await process.stderr.read()
            code = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            process.stdin.close()
        if code != 0:
            last = words.decode(errors="replace").strip()[-_MOST_WORDS:]
            raise InternalError(f"index build of {job.output!r} ended with {code}: {last}")
