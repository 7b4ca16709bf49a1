"""What the system asks of leader election: one lease per log, changed by compare-and-swap.

An election decides who tries to lead, never who may write: the fence is the exclusive creation of
log entries. The store holds no time. Whether a lease has expired is judged by each observer on its
own monotonic clock, by how long the beat has stood still.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from mishards.core.errors import LeaseTaken
from mishards.core.ids import LogId, NodeId

NOBODY = NodeId("")


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a log, as one look found it.

    Attributes:
        holder: empty: nobody.
        heir: to whom a holder that leaves hands over; empty for anyone.
        beat: rises by one with every change; 0 means that the log was never held.
    """

    log_id: LogId
    holder: NodeId = NOBODY
    heir: NodeId = NOBODY
    beat: int = 0


class Election(Protocol):
    """The leases of a cluster's logs. All coroutines: from the loop's thread.

    An election that cannot be reached raises `Unavailable`; a swap may then have happened or not.
    """

    async def look(self, log_id: LogId) -> Lease:
        """The log's lease of this moment."""

    async def swap(self, seen: Lease, holder: NodeId, heir: NodeId = NOBODY) -> Lease:
        """Replace `seen` by a lease of `holder` with the next beat; the new lease.

        Of concurrent swaps of one lease exactly one succeeds. A holder renews by swapping its own
        lease, and leaves by swapping it for one of nobody.

        Raises:
            LeaseTaken: the log's lease is not `seen` any more.
        """

    async def close(self) -> None:
        """Let go of connections and threads; leases stay as they are."""


def next_lease(seen: Lease, holder: NodeId, heir: NodeId) -> Lease:
    """The lease that follows `seen`."""
    return Lease(log_id=seen.log_id, holder=holder, heir=heir, beat=seen.beat + 1)


def no_longer_held(seen: Lease) -> LeaseTaken:
    """The error of a swap of a lease that is another by now."""
    return LeaseTaken(
        f"the lease of log {seen.log_id} is no longer that of {seen.holder!r} at beat {seen.beat}"
    )
