"""A seed: which cluster, which collection, and what goes wrong, all by chance.

Invariant: everything follows from the seed.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import msgspec

from mishards.core.schema import Metric
from mishards.testing.clock import run_virtual
from mishards.testing.cluster import ClusterLayout, SimulatedCluster
from mishards.testing.faults import Faults
from mishards.testing.history import History
from mishards.testing.run import Run
from mishards.testing.shape import Shape
from mishards.testing.violation import Violation
from mishards.testing.workload import work

_CLIENTS = 3
_TIMEOUT_S = 2.0

WHOLE: dict[str, tuple[str, ...]] = {
    **{f"writer-{n}": ("writer",) for n in (1, 2, 3)},
    **{f"reader-{n}": ("reader",) for n in (1, 2, 3, 4, 5)},
    **{f"proxy-{n}": ("proxy",) for n in (1, 2)},
}
LAYOUTS: dict[str, dict[str, tuple[str, ...]]] = {
    "whole": WHOLE,
    "few": {
        "writer-1": ("writer",),
        "writer-2": ("writer",),
        "reader-1": ("reader",),
        "reader-2": ("reader",),
        "proxy-1": ("proxy",),
    },
    "each is all": {
        "one": ("writer", "reader", "proxy"),
        "two": ("writer", "reader", "proxy"),
        "three": ("writer", "reader", "proxy"),
    },
    "readers that are proxies": {
        "writer-1": ("writer",),
        "writer-2": ("writer",),
        "both-1": ("reader", "proxy"),
        "both-2": ("reader", "proxy"),
    },
}
_SHARE_OF_WHOLE = 0.6


class Outcome(msgspec.Struct, frozen=True):
    """How a run went."""

    seed: int
    layout: str
    shape: Shape
    history: History
    violations: list[Violation]

    def described(self) -> str:
        """The violations and the history, for people."""
        head = f"seed {self.seed}: {self.layout}, {self.shape}"
        broken = [str(violation) for violation in self.violations]
        return "\n".join([head, *self.history.lines(), "", head, *broken])


def simulate(seed: int, folder: Path, *, duration_s: float = 6.0) -> Outcome:
    """Run a whole cluster for `duration_s` of virtual time with faults, heal it, and check it.

    Args:
        folder: for files while it runs.
    """
    return run_virtual(_simulate(seed, folder, duration_s))


async def _simulate(seed: int, folder: Path, duration_s: float) -> Outcome:
    chance = random.Random(f"{seed}/layout")
    name = "whole" if chance.random() < _SHARE_OF_WHOLE else chance.choice(sorted(LAYOUTS))
    shape = Shape(
        text_keys=chance.random() < 0.3,
        metric=chance.choice(list(Metric)),
        index=chance.choice(("FLAT", "IVF_FLAT")),
        replicas=chance.choice((1, 1, 2)),
        log=chance.choice((0, 0, 0, 1, 2)),
    )
    layout = ClusterLayout(
        hosts=LAYOUTS[name],
        routing=chance.choice(("consistent_hash", "rendezvous")),
        logs=shape.log + 1,
    )
    run = Run(SimulatedCluster(str(seed), folder, layout), shape)

    async def trouble() -> None:
        until_s = asyncio.get_running_loop().time() + duration_s
        faults = Faults(str(seed), run.cluster, run.clients.history)
        clients = [run.clients.client(f"client_{n}", _TIMEOUT_S) for n in range(_CLIENTS)]
        await asyncio.gather(faults.run(until_s), *(work(client, until_s) for client in clients))

    violations = await run.run(trouble)
    return Outcome(seed, name, shape, run.clients.history, violations)
