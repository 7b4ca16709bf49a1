"""What nodes leave on shared storage while they run, for nodes of other machines to find.

A writer leaves `probes/<node>` before it is announced and takes it away after it has withdrawn.
Who starts reads them all: each has to be whole, and there has to be one of every writer that the
registry names on another machine, or this one is looking at other storage than they are, as where
a mount is missing. Invariants: a probe is of one node alone, which renews it; one that was not
renewed for days is of a dead node, and whoever starts takes it away.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

import msgspec

from mishards.core.checksum import crc32
from mishards.core.errors import DiskFull, ObjectNotFound, StorageError, StorageUnfit
from mishards.core.ids import NodeId
from mishards.core.runtime import Runtime
from mishards.discovery.protocol import NodeInfo
from mishards.storage.protocol import ObjectStore

PREFIX = "probes/"
_LOOKS = 10
_PAUSE_S = 0.5
_RENEW_S = 6 * 3600.0
_FORGET_MS = 3 * 24 * 3600 * 1000
_ODD = re.compile(r"[^A-Za-z0-9_\-.]")
_log = logging.getLogger(__name__)


class _Probe(msgspec.Struct, frozen=True):
    """Contents of the object; `checksum` is the CRC-32 of the rest."""

    node: str
    host: str
    ms: int
    checksum: int

    @property
    def true_checksum(self) -> int:
        return crc32(f"{self.node}\n{self.host}\n{self.ms}".encode())


_decoder = msgspec.json.Decoder(_Probe)


class Probes:
    """The probes of a data set. All coroutines: from the loop's thread."""

    def __init__(self, store: ObjectStore, runtime: Runtime, where: str) -> None:
        """`where`: what the storage is called in errors."""
        self._store = store
        self._runtime = runtime
        self._where = where

    async def leave(self, node_id: NodeId, host: str) -> None:
        """Put this node's probe; a store without space gets none.

        Raises:
            StorageError: the storage failed.
        """
        probe = _Probe(node_id, host, self._runtime.now_ms(), 0)
        probe = msgspec.structs.replace(probe, checksum=probe.true_checksum)
        try:
            await self._store.put(_key(node_id), msgspec.json.encode(probe))
        except DiskFull as error:
            _log.warning("others will not find what this node leaves: %s", error.message)

    async def renew(self, node_id: NodeId, host: str) -> None:
        """Put this node's probe again now and then, for ever."""
        while True:
            await self._runtime.sleep(_RENEW_S)
            try:
                await self.leave(node_id, host)
            except StorageError as error:
                _log.warning("cannot renew what this node left on storage: %s", error.message)

    async def remove(self, node_id: NodeId) -> None:
        """Take this node's probe away; where that fails it stays, and does no harm."""
        try:
            await self._store.delete(_key(node_id))
        except (StorageError, DiskFull) as error:
            _log.warning("cannot take away what this node left on storage: %s", error.message)

    async def check(self, nodes: Iterable[NodeInfo], host: str) -> None:
        """Look for what other nodes left, for a few seconds where something is not there yet.

        Args:
            nodes: those that live, as the registry has them.
            host: this machine's name.

        Raises:
            StorageUnfit: a probe is not whole, or there is none of a writer elsewhere.
            StorageError: the storage failed.
        """
        writers = {
            node.id: node
            for node in nodes
            if "writer" in node.roles and node.host not in ("", host)
        }
        for looks_left in reversed(range(_LOOKS)):
            try:
                await self._look(writers)
            except StorageUnfit:
                # A server's answers may be older than what another machine has written.
                if not looks_left:
                    raise
                await self._runtime.sleep(_PAUSE_S)
            else:
                return

    async def _look(self, writers: dict[NodeId, NodeInfo]) -> None:
        keys = {info.key for info in await self._store.list(PREFIX)}
        for key in sorted(keys | {_key(node_id) for node_id in writers}):
            try:
                data = await self._store.get(key)
            except ObjectNotFound:
                continue
            probe = self._whole(key, data)
            writers.pop(NodeId(probe.node), None)
            if self._runtime.now_ms() - probe.ms > _FORGET_MS:
                await self.remove(NodeId(probe.node))
        if writers:
            node = min(writers.values())
            raise StorageUnfit(
                f"{self._where} holds nothing of writer {node.id!r}, which runs on host "
                f"{node.host!r}: is it the storage of this cluster, and mounted?"
            )

    def _whole(self, key: str, data: bytes) -> _Probe:
        try:
            probe = _decoder.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._torn(key, str(error)) from error
        if probe.checksum != probe.true_checksum or _key(NodeId(probe.node)) != key:
            raise self._torn(key, f"it is that of {probe.node!r} with another checksum")
        return probe

    def _torn(self, key: str, how: str) -> StorageUnfit:
        return StorageUnfit(
            f"{self._where} cannot be used as shared storage: object {key!r} of another node is "
            f"not seen as it was written: {how}"
        )


def _key(node_id: NodeId) -> str:
    """The key of a node's probe; ids may hold characters that keys may not."""
    return PREFIX + "n" + _ODD.sub(lambda odd: f"={odd[0].encode().hex()}=", node_id)
