"""Runs simulations under many seeds, in processes of their own: `python -m mishards.testing.seeds`.

Invariant: what a seed shows depends on the seed alone, not on the process or the other seeds.
"""

from __future__ import annotations

import argparse
import gc
import logging
import multiprocessing
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from mishards.testing.failpoints import crash, survey
from mishards.testing.planted import PLANTED
from mishards.testing.simulation import simulate

_IN_MEMORY = Path("/dev/shm")


class SeedResult(msgspec.Struct, frozen=True):
    """How a seed went.

    Attributes:
        broken: the invariants that were.
        report: the violations, one per line.
        history: all that happened, where something was broken.
        left: files that the run left in its folder.
    """

    seed: int
    calls: int
    succeeded: int
    broken: tuple[str, ...] = ()
    report: str = ""
    history: str = ""
    left: tuple[str, ...] = ()


def run_seed(seed: int, plant: str = "") -> SeedResult:
    """Simulate one seed, with a bug planted where one is named."""
    with _folder() as folder, _planted(plant):
        # Collections of garbage would look at all modules again and again.
        gc.disable()
        try:
            outcome = simulate(seed, folder)
        finally:
            gc.enable()
        left = tuple(sorted(path.name for path in folder.iterdir()))
    gc.collect()
    operations = outcome.history.operations
    return SeedResult(
        seed,
        len(operations),
        sum(one.outcome == "ok" for one in operations),
        tuple(sorted({one.invariant for one in outcome.violations})),
        "\n".join(map(str, outcome.violations)),
        outcome.described() if outcome.violations else "",
        left,
    )


def first_found(plant: str, seeds: int) -> tuple[int, tuple[str, ...]] | None:
    """The first seed below `seeds` that shows a planted bug, and the invariants that it breaks."""
    expected = PLANTED[plant].invariants
    for seed in range(seeds):
        broken = run_seed(seed, plant).broken
        if not expected.isdisjoint(broken):
            return seed, broken
    return None


def surveyed() -> Counter[str]:
    """`failpoints.survey` in a folder of its own."""
    with _folder() as folder:
        return survey(folder)


def crash_at(point: str, time: int) -> tuple[bool, str]:
    """`failpoints.crash` in a folder of its own, with a report that is empty where all is well."""
    with _folder() as folder:
        happened, broken = crash(folder, point, time)
    return happened, "\n".join(map(str, broken))


@contextmanager
def _folder() -> Iterator[Path]:
    """For the files of one run; in memory where there is such a place."""
    memory = str(_IN_MEMORY) if _IN_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory, prefix="mishards-") as folder:
        yield Path(folder)


@contextmanager
def _planted(name: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if name:
            PLANTED[name].plant(patch)
        yield


@contextmanager
def workers(count: int = 0) -> Iterator[Executor]:
    """Processes to simulate in, as many as there are processors unless told otherwise."""
    # A forked process would inherit threads that it does not have.
    context = multiprocessing.get_context("spawn")
    count = count or len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(count, context, _prepare) as executor:
        try:
            yield executor
        finally:
            executor.shutdown(cancel_futures=True)


def _prepare() -> None:
    """Simulated nodes have much to complain about, and threads of their own only disturb."""
    logging.disable(logging.CRITICAL)
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    gc.freeze()


def again(seed: int) -> str:
    """How to see a seed again."""
    return f"make sim SEED={seed}"


def main(arguments: list[str]) -> int:
    """Simulate seeds and print those that break an invariant; 1 when there are any."""
    parser = argparse.ArgumentParser(description="Simulate clusters under many seeds.")
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="this seed alone, with all that happened")
    parser.add_argument("--processes", type=int, default=0, help="0: one per processor")
    given = parser.parse_args(arguments)
    if given.seed is not None:
        _prepare()
        result = run_seed(given.seed)
        print(result.history or f"seed {given.seed}: {result.succeeded} calls, nothing is broken")
        return bool(result.broken)
    failed = 0
    with workers(given.processes) as executor:
        seeds = range(given.first, given.first + given.seeds)
        running: list[Future[SeedResult]] = [executor.submit(run_seed, seed) for seed in seeds]
        for future in running:
            result = future.result()
            if result.broken:
                failed += 1
                head = result.report.partition("\n")[0]
                print(f"seed {result.seed}: {head}; again with: {again(result.seed)}", flush=True)
    print(f"{given.seeds} seeds, {failed} of them break an invariant")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
