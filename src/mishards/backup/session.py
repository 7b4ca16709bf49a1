"""A data set that a command works on: its stores, and a leader for what only a leader may do.

Invariant: where a leader lives it is asked; only where none does, one is started in this process,
by the same code as in a cluster, and ended with the command.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from mishards.cluster.membership import Membership
from mishards.core.errors import ConfigError, MishardsError, Unavailable
from mishards.core.ids import DDL_LOG, MetadataVersion
from mishards.core.runtime import Runtime
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.proxy.leader import LeaderClient
from mishards.rpc.messages import Message, NewestTimestamp, Reply
from mishards.server.config import Config
from mishards.server.lifecycle import running_node
from mishards.server.seams import Seams, open_seams

_ASK_S = 2.0
_PATIENCE_S = 30.0
_PAUSE_S = 0.2
_CALL_S = 120.0


class DataSession:
    """The stores of a data set. All coroutines: from the loop's thread."""

    def __init__(self, config: Config, seams: Seams) -> None:
        self.config = config
        self.seams = seams
        self._membership = Membership(seams.runtime, seams.registry, config.node.heartbeat_s)
        self._leader = LeaderClient(seams.runtime, seams.transport, self._membership, DDL_LOG)

    async def snapshot(self) -> MetadataSnapshot:
        """All metadata, as it is stored."""
        return MetadataSnapshot.empty().apply(await self.seams.metadata.changes(MetadataVersion(0)))

    async def ask(self, message: Message) -> Reply:
        """The leader's answer; only within `leader`. Raises what `LeaderClient.call` does."""
        return await self._leader.call(message, _CALL_S)

    @asynccontextmanager
    async def leader(self) -> AsyncIterator[None]:
        """See to it that somebody leads while the body runs.

        Raises:
            Unavailable: a node says that it leads, and does not answer.
            MishardsError: why no leader can be started.
        """
        async with AsyncExitStack() as stack:
            await self._membership.start()
            stack.push_async_callback(self._membership.close)
            if not await self._has_leader():
                await stack.enter_async_context(running_node(_quiet(self.config), ("writer",)))
                await self._membership.refresh()
            yield

    async def _has_leader(self) -> bool:
        """Whether one lives. A dead one stays in the registry for some seconds."""
        runtime = self.seams.runtime
        until_s = runtime.monotonic_s() + _PATIENCE_S
        while (node := self._membership.leader(DDL_LOG)) is not None:
            channel = self.seams.transport.channel(node.address)
            try:
                await channel.call(NewestTimestamp(), timeout_s=_ASK_S)
            except MishardsError as error:
                if not error.retriable:
                    raise
                if runtime.monotonic_s() > until_s:
                    raise Unavailable(
                        f"node {node.id} at {node.address} is said to lead log {DDL_LOG}, and "
                        f"does not answer: {error.message}"
                    ) from error
                await runtime.sleep(_PAUSE_S)
                await self._membership.refresh()
            else:
                return True
        return False


@asynccontextmanager
async def data_session(
    config: Config, runtime: Runtime, *, create: bool
) -> AsyncIterator[DataSession]:
    """The data set of a configuration.

    Args:
        create: make a data folder that is missing.

    Raises:
        ConfigError: there is no such data folder, or something cannot be opened as named.
        DataInUse: it belongs to another cluster.
    """
    if config.has_data_folder and not create and not config.data_folder.is_dir():
        raise ConfigError(f"cluster.data = {str(config.data_folder)!r} does not exist")
    seams = await open_seams(config, runtime)
    try:
        yield DataSession(config, seams)
    finally:
        await seams.close()


def _quiet(config: Config) -> Config:
    """For a leader that is there for a moment: the next one builds the indexes, and compacts."""
    writer = msgspec.structs.replace(config.writer, build_workers=0, compaction_share=0.0)
    return msgspec.structs.replace(config, writer=writer)
