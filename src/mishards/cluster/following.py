"""A node's side of `Follow`: it applies one log to a sink, from whatever has it.

While the leader's stream stands, everything comes from it, metadata too; whenever it does not,
entries are read from shared storage and metadata from its store. Invariants: entries are applied
once, in order, without a gap but for what was trimmed, whichever source they came from; a damaged
entry on storage ends the follower, and nothing else does.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Protocol, cast

from mishards.cluster.coalescing import Coalescer
from mishards.cluster.membership import Membership
from mishards.cluster.metadata_following import MetadataFollower
from mishards.core.errors import (
    CorruptObject,
    MishardsError,
    ObjectNotFound,
    SystemFault,
    Unavailable,
)
from mishards.core.ids import EntrySeq, LogId, Timestamp
from mishards.core.runtime import Runtime
from mishards.discovery.protocol import NodeInfo
from mishards.log.entry import Entry, decode_entry
from mishards.log.store import LogStore
from mishards.rpc.messages import Follow, LogPush, MetadataPush, Reply, Tick
from mishards.rpc.protocol import Transport

_log = logging.getLogger(__name__)

POLL_S = 0.2
SILENCE_S = 3.0
_FIRST_BACKOFF_S = 0.05
_LONGEST_BACKOFF_S = 1.0


class FollowSink(Protocol):
    """Takes what is followed; all methods from the loop's thread, most without waiting."""

    def apply_entry(self, entry: Entry) -> None:
        """The next entry of the log."""

    def apply_tick(self, log: LogId, seq: EntrySeq, timestamp: Timestamp) -> None:
        """Every mutation of the log up to `timestamp` is in its entries up to `seq`, which were
        applied."""

    async def begin_again(self, log: LogId, next_seq: EntrySeq) -> None:
        """The log's entries before `next_seq` that were not applied are gone; all they held is
        sealed or dropped in the metadata that was applied last.

        Raises:
            StorageError: what was sealed cannot be read; repeat it before the next entry.
        """


class LogFollower:
    """Follows one log.

    Attributes:
        next_seq: the entry that is applied next.
        failed: why it ended; None while it runs.
        leader: whose stream it listens to; None while it polls.
    """

    def __init__(
        self,
        runtime: Runtime,
        transport: Transport,
        membership: Membership,
        log: LogStore | None,
        metadata: MetadataFollower,
        sink: FollowSink,
        log_id: LogId,
        next_seq: EntrySeq,
        *,
        poll_s: float = POLL_S,
        silence_s: float = SILENCE_S,
    ) -> None:
        """Without a `log` it follows positions and metadata only, as proxies do.

        Args:
            poll_s: pause between two looks at storage and metadata while there is no stream.
            silence_s: a stream that says nothing for so long counts as broken.
        """
        self.next_seq = next_seq
        self._heard_seq = EntrySeq(0)
        self.failed: MishardsError | None = None
        self.leader: NodeInfo | None = None
        self._runtime = runtime
        self._transport = transport
        self._membership = membership
        self._log = log
        self._metadata = metadata
        self._sink = sink
        self._log_id = log_id
        self._poll_s = poll_s
        self._silence_s = silence_s
        self._storage = Coalescer(self._read_storage)
        self._retry_at_s = 0.0
        self._backoff_s = _FIRST_BACKOFF_S
        self._refused: NodeInfo | None = None
        self._said: dict[str, str] = {}

    @property
    def behind(self) -> int:
        """Entries that the leader has told of and that are not applied yet."""
        return max(0, self._heard_seq - self.next_seq + 1)

    async def run(self) -> None:
        """Follow until cancelled.

        Raises:
            CorruptObject: an entry on storage is damaged; `failed` says so too.
        """
        try:
            while True:
                leader = self._membership.leader(self._log_id)
                if leader is not None and self._is_due(leader):
                    await self._listen(leader)
                await self._poll()
                await self._runtime.sleep(self._pause_s())
        except CorruptObject as error:
            self.failed = error
            raise

    async def catch_up(self) -> None:
        """Read storage to its end: what was durable when this was called is applied on return.

        Raises:
            StorageError: storage cannot be read; retriable.
            CorruptObject: an entry is damaged; names it.
        """
        if self.failed is not None:
            raise type(self.failed)(self.failed.message)
        try:
            await self._storage.run()
        except CorruptObject as error:
            self.failed = error
            raise

    # --- from the leader --------------------------------------------------------------------

    def _is_due(self, leader: NodeInfo) -> bool:
        """Whether to try this leader now: one that just failed gets a pause, another does not."""
        return leader != self._refused or self._runtime.monotonic_s() >= self._retry_at_s

    def _pause_s(self) -> float:
        leader = self._membership.leader(self._log_id)
        if leader is None:
            return self._poll_s
        left_s = self._retry_at_s - self._runtime.monotonic_s()
        return min(self._poll_s, max(left_s, 0.0))

    async def _listen(self, leader: NodeInfo) -> None:
        """Apply the leader's stream until it breaks; what broke it is logged, and a pause set."""
        try:
            channel = self._transport.channel(leader.address)
            follow = Follow(
                log=self._log_id,
                seq=self.next_seq,
                version=self._metadata.version,
                entries=self._log is not None,
            )
            async with aclosing(cast("Any", channel.stream(follow))) as stream:
                while True:
                    item = await self._next(stream)
                    if self.leader is None:
                        self.leader = leader
                        self._say("stream", f"following {leader.id} at entry {self.next_seq}")
                        self._backoff_s = _FIRST_BACKOFF_S
                    await self._take(item)
                    self._check_leader(leader)
        except CorruptObject as error:
            if self.failed is not None:
                raise
            # The leader could not read its backlog: our own look at storage decides.
            self._broke(leader, error)
        except MishardsError as error:
            self._broke(leader, error)
        finally:
            self.leader = None

    async def _next(self, stream: AsyncIterator[Reply]) -> Reply:
        try:
            item = await self._runtime.timeout(_anext(stream), self._silence_s)
        except TimeoutError:
            raise Unavailable(f"the stream said nothing for {self._silence_s:g} s") from None
        if item is None:
            raise Unavailable("the stream ended")
        return item

    def _check_leader(self, leader: NodeInfo) -> None:
        now = self._membership.leader(self._log_id)
        if now is not None and now.id != leader.id:
            raise Unavailable(f"{now.id} leads the log now")

    def _broke(self, leader: NodeInfo, error: MishardsError) -> None:
        self._say("stream", f"not following {leader.id}: {error.message}")
        spread = self._runtime.random.uniform(0.5, 1.0)
        self._retry_at_s = self._runtime.monotonic_s() + self._backoff_s * spread
        self._backoff_s = min(2 * self._backoff_s, _LONGEST_BACKOFF_S)
        self._refused = leader

    async def _take(self, item: Reply) -> None:
        """Apply one message of the stream; a gap before it is filled from storage.

        Raises:
            Unavailable: the gap is not on storage yet.
        """
        if isinstance(item, LogPush | Tick):
            self._heard_seq = max(self._heard_seq, item.seq)
        match item:
            case LogPush() if self._log is not None:
                if item.seq == self.next_seq and self._apply_raw(item):
                    return
                if item.seq >= self.next_seq:
                    await self._fill_to(item.seq)
            case Tick() | LogPush():
                if self._log is not None and item.seq >= self.next_seq:
                    await self._fill_to(item.seq)
                if self._log is None or item.seq == self.next_seq - 1:
                    # A leader that knows less than storage may have lost its reign.
                    self._sink.apply_tick(self._log_id, item.seq, item.timestamp)
            case MetadataPush(changes=changes):
                await self._metadata.take(changes)
            case _:
                raise Unavailable(f"unexpected {type(item).__name__} in a stream of a log")

    def _apply_raw(self, push: LogPush) -> bool:
        """Apply the entry as it came; False when its bytes are damaged."""
        assert self._log is not None
        try:
            entry = decode_entry(push.entry, self._log.key(push.seq))
        except CorruptObject as error:
            _log.warning("an entry came damaged, reading it from storage: %s", error.message)
            return False
        self._apply_entry(entry)
        return True

    async def _fill_to(self, seq: EntrySeq) -> None:
        await self.catch_up()
        if self.next_seq <= seq:
            raise Unavailable(f"entry {seq} was announced, but storage ends at {self.next_seq - 1}")

    # --- from storage and metadata ----------------------------------------------------------

    async def _poll(self) -> None:
        """Look at both stores once; one that cannot be reached is logged and left for now."""
        if self._log is not None:
            try:
                await self.catch_up()
                self._say("storage", "")
            except CorruptObject:
                raise
            except SystemFault as error:
                self._say("storage", f"the log on storage cannot be read: {error.message}")
        try:
            await self._metadata.poll()
            self._say("metadata", "")
        except CorruptObject:
            raise
        except SystemFault as error:
            self._say("metadata", f"metadata cannot be read: {error.message}")

    async def _read_storage(self) -> None:
        if self._log is None:
            return
        while True:
            first = self.next_seq
            try:
                async with aclosing(cast("Any", self._log.read_from(first))) as entries:
                    async for entry, _raw in entries:
                        self._apply_entry(entry)
            except ObjectNotFound as missing:
                # A stream may have brought, and the leader trimmed, what was to be read here.
                if self.next_seq == first:
                    await self._begin_again(missing)
            else:
                return

    async def _begin_again(self, missing: ObjectNotFound) -> None:
        """Go on from where newer metadata says that the log begins.

        Raises:
            ObjectNotFound: the metadata does not say that the entry was trimmed.
            MetadataUnavailable, StorageError: it cannot be done for now.
        """
        stood = self.next_seq
        meta = (await self._metadata.read_all()).logs.get(self._log_id)
        if self.next_seq != stood:
            return  # a stream brought the entry meanwhile
        if meta is None or meta.replay_from <= stood:
            raise missing
        _log.warning(
            "log %d was trimmed: entry %d follows on %d", self._log_id, meta.replay_from, stood - 1
        )
        await self._sink.begin_again(self._log_id, meta.replay_from)
        self.next_seq = max(self.next_seq, meta.replay_from)

    def _apply_entry(self, entry: Entry) -> None:
        if entry.seq >= self.next_seq:
            self._sink.apply_entry(entry)
            self.next_seq = EntrySeq(entry.seq + 1)

    def _say(self, subject: str, state: str) -> None:
        """Log a state of `subject` when it is another than last time; empty means in order."""
        if self._said.get(subject, "") != state:
            self._said[subject] = state
            level = logging.WARNING if state and subject != "stream" else logging.INFO
            _log.log(level, "log %d: %s", self._log_id, state or f"{subject} can be read again")


async def _anext(stream: AsyncIterator[Reply]) -> Reply | None:
    return await anext(stream, None)
