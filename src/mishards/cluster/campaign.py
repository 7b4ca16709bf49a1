"""One node's part in the election of a log's leader.

Invariants: a lease is claimed only when nobody holds it, when it was left to this node, when the
process of its holder has ended, or when its beat stood still for its whole length on this node's
monotonic clock while this node was looking; whoever does not look for a while does not count that
while as silence. Being elected says who should try to lead; what is written stays fenced by the
log.
"""

from __future__ import annotations

import logging
import math

from mishards.core.errors import LeaseTaken, SystemFault
from mishards.core.ids import LogId, NodeId
from mishards.core.runtime import Runtime
from mishards.discovery.election import NOBODY, Election, Lease

_log = logging.getLogger(__name__)
LOOKS_PER_LEASE = 6
_RENEWALS_PER_LEASE = 3


class LeaseWatch:
    """Judges, look by look, whether a lease has expired."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._seen: Lease | None = None
        self._looked_s = 0.0
        self._silence_s = 0.0

    def look(self, lease: Lease, now_s: float) -> None:
        """Take note of a lease as it was just read."""
        if lease == self._seen:
            # A gap between two looks may be this node's own pause: it proves little silence.
            self._silence_s += min(now_s - self._looked_s, self._lease_s / 3)
        else:
            self._seen, self._silence_s = lease, 0.0
        self._looked_s = now_s

    @property
    def holder(self) -> NodeId:
        """Of the lease seen last; empty where that is nobody or nothing was seen."""
        return NOBODY if self._seen is None else self._seen.holder

    def may_claim(self, node_id: NodeId, ended: NodeId = NOBODY) -> bool:
        """Whether `node_id` may claim the lease seen last.

        Args:
            ended: a node whose process is known to have ended.
        """
        lease = self._seen
        if lease is None:
            return False
        if self._silence_s >= self._lease_s or (ended != NOBODY and lease.holder == ended):
            return True
        return lease.holder == NOBODY and lease.heir in (NOBODY, node_id)


class Campaign:
    """Wins, keeps and leaves the lease of one log."""

    def __init__(
        self,
        runtime: Runtime,
        election: Election,
        log_id: LogId,
        node_id: NodeId,
        lease_s: float,
        *,
        unrivalled: bool = False,
    ) -> None:
        """`unrivalled`: something else keeps other candidates away, so any lease is claimed."""
        self._runtime = runtime
        self._election = election
        self._log_id = log_id
        self._node_id = node_id
        self._lease_s = lease_s
        self._unrivalled = unrivalled
        self._watch = LeaseWatch(lease_s)
        self._reachable = True
        self.held_s = -math.inf
        """When the lease was last known to be this node's, on the monotonic clock."""

    @property
    def holder(self) -> NodeId:
        """Who held the lease when this node looked last; empty where nobody did."""
        return self._watch.holder

    async def try_to_win(self, ended: NodeId = NOBODY) -> bool:
        """Look once, and claim the lease where that is due; whether it is this node's.

        An election that cannot be reached is logged once, and not won.

        Args:
            ended: a node whose process was just seen to have ended.
        """
        begun_s = self._runtime.monotonic_s()
        try:
            seen = await self._election.look(self._log_id)
            self._watch.look(seen, self._runtime.monotonic_s())
            if not (self._unrivalled or self._watch.may_claim(self._node_id, ended)):
                return False
            await self._election.swap(seen, self._node_id)
        except LeaseTaken:
            return False
        except SystemFault as error:
            self._say(error)
            return False
        self._say(None)
        self.held_s = begun_s
        return True

    async def keep(self) -> LeaseTaken:
        """Renew the lease for as long as it is this node's; why it is so no longer.

        While the election cannot be reached nobody else can be elected either: nothing ends.
        """
        while True:
            await self._runtime.sleep(self._lease_s / _RENEWALS_PER_LEASE)
            begun_s = self._runtime.monotonic_s()
            try:
                seen = await self._election.look(self._log_id)
                if seen.holder != self._node_id:
                    return LeaseTaken(
                        f"the lease of log {self._log_id} is held by {seen.holder or 'nobody'!r}"
                    )
                await self._election.swap(seen, self._node_id)
            except LeaseTaken:
                continue
            except SystemFault as error:
                self._say(error)
            else:
                self._say(None)
                self.held_s = begun_s

    async def leave(self, heir: NodeId = NOBODY) -> None:
        """Give the lease up, where it is held; one that cannot be given up expires."""
        self._watch = LeaseWatch(self._lease_s)
        try:
            seen = await self._election.look(self._log_id)
            if seen.holder == self._node_id:
                await self._election.swap(seen, NOBODY, heir)
        except SystemFault as error:
            _log.info("the lease of log %d cannot be given up: %s", self._log_id, error.message)

    def _say(self, error: SystemFault | None) -> None:
        if error is not None and self._reachable:
            _log.warning("the election of log %d cannot be reached: %s", self._log_id, error)
        self._reachable = error is None
