"""A registry in a shared folder: a file per node, `folder:///srv/shared/nodes`.

Invariants: a file appears whole, by a rename; who is live is decided by each reader for itself, see
`mishards.discovery.liveness`; files that stay silent for `FORGET_S` are removed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, unquote, urlsplit

import msgspec

from mishards.core.errors import ConfigError, Unavailable
from mishards.core.ids import NodeId
from mishards.core.runtime import Runtime
from mishards.discovery.entries import Entries
from mishards.discovery.liveness import Liveness
from mishards.discovery.protocol import NodeInfo

FORGET_S = 600.0
T = TypeVar("T")


class _Entry(msgspec.Struct):
    """Contents of a file; the node itself may be of another release."""

    beat: int
    ms: int
    node: msgspec.Raw


class FolderRegistry:
    """A `Registry` over a folder; files are read and written off the loop."""

    def __init__(self, folder: Path, runtime: Runtime, ttl_s: float) -> None:
        self._folder = folder
        self._runtime = runtime
        self._ttl_s = ttl_s
        self._liveness = Liveness(ttl_s)
        self._entries = Entries()
        self._beats: dict[NodeId, int] = {}
        self._written_s = 0.0

    async def announce(self, node: NodeInfo) -> None:
        self._beats[node.id] = beat = self._beats.get(node.id, 0) + 1
        entry = _Entry(beat, self._runtime.now_ms(), msgspec.Raw(msgspec.json.encode(node)))
        unique = f".{self._runtime.random.getrandbits(64):016x}"
        await self._do(self._write, node.id, unique, msgspec.json.encode(entry))
        self._written_s = self._runtime.monotonic_s()

    async def withdraw(self, node_id: NodeId) -> None:
        self._beats.pop(node_id, None)
        await self._do(self._remove, [node_id])

    async def nodes(self) -> tuple[NodeInfo, ...]:
        found = await self._do(self._read)
        now_s = self._runtime.monotonic_s()
        live = self._liveness.look(
            {name: (entry.beat, entry.ms) for name, entry in found.items()},
            monotonic_s=now_s,
            now_ms=self._runtime.now_ms(),
            writable=not self._beats or now_s - self._written_s < self._ttl_s / 2,
        )
        if forgotten := self._liveness.silent_for(FORGET_S):
            await self._do(self._remove, list(forgotten))
        nodes = [self._entries.decode(name, bytes(found[name].node)) for name in live]
        return tuple(sorted(node for node in nodes if node is not None))

    async def close(self) -> None:
        """Nothing is held."""

    async def _do(self, work: Callable[..., T], *args: object) -> T:
        try:
            return await self._runtime.blocking(work, *args)
        except OSError as error:
            raise Unavailable(f"the registry in {str(self._folder)!r}: {error}") from error

    # --- off the loop -----------------------------------------------------------------------

    def _path(self, node_id: str) -> Path:
        return self._folder / f"n{quote(node_id, safe='')}"

    def _write(self, node_id: NodeId, unique: str, data: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / unique
        temporary.write_bytes(data)
        temporary.replace(self._path(node_id))

    def _remove(self, node_ids: Sequence[NodeId]) -> None:
        for node_id in node_ids:
            self._path(node_id).unlink(missing_ok=True)

    def _read(self) -> dict[NodeId, _Entry]:
        found = {}
        for path in self._folder.glob("n*"):
            try:
                entry = msgspec.json.decode(path.read_bytes(), type=_Entry)
            except (FileNotFoundError, msgspec.MsgspecError):
                continue
            found[NodeId(unquote(path.name[1:]))] = entry
        return found


def open_folder(
    runtime: Runtime, *, url: str, nodes: Sequence[str], ttl_s: float
) -> FolderRegistry:
    """The registry of a `folder:///path` URL.

    Raises:
        ConfigError: the URL names no folder.
    """
    parts = urlsplit(url)
    if parts.netloc or not parts.path.strip("/"):
        raise ConfigError(f"invalid registry {url!r}: folder:///path is expected")
    return FolderRegistry(Path(unquote(parts.path)), runtime, ttl_s)
