"""A registry in ZooKeeper: an ephemeral entry per announcement, `<prefix>/node/<id>;<number>`.

An entry is never changed: what a node says anew is a new entry with a higher number, in one
transaction with the removal of the old one. So nodes are kept alive by their sessions and write
nothing while nothing changes; and an observer asks for the folder's `pzxid` alone, and only when
that has risen for the entries it has not read yet. A watch on the folder tells it when to ask
without waiting for its turn. Whoever leaves notes its entry in the folder's data: what vanishes
without a note lost its session, see `discovery.grace`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import quote, unquote

import msgspec
from kazoo.exceptions import BadVersionError, NoNodeError

from mishards.core.ids import NodeId
from mishards.core.runtime import Runtime
from mishards.discovery.entries import Entries
from mishards.discovery.grace import Grace
from mishards.discovery.protocol import NodeInfo
from mishards.discovery.renewals import Renewals
from mishards.discovery.service import ask_service
from mishards.discovery.zookeeper_client import (
    REFUSALS,
    Operation,
    Request,
    ZooKeeperClient,
)
from mishards.discovery.zookeeper_url import parse_zookeeper_url

T = TypeVar("T")

_NOTES = 100
"""How many of the entries that left are noted."""
_TRIES = 20


class _Own(msgspec.Struct, frozen=True):
    """What this process announced last of a node."""

    path: str
    body: bytes


class _Folder(msgspec.Struct, frozen=True):
    """The entries as they were read.

    Attributes:
        mark: rises with every change of the folder.
        bodies: what each entry holds, by its name.
        left: names of entries whose nodes have left.
    """

    mark: tuple[int, ...] = ()
    bodies: dict[str, bytes] = {}
    left: frozenset[str] = frozenset()


class ZooKeeperRegistry:
    """A `Watching` registry over ZooKeeper; calls run off the loop."""

    def __init__(self, url: str, runtime: Runtime, *, ttl_s: float) -> None:
        """Raises `ConfigError` when the URL cannot be used."""
        parsed = parse_zookeeper_url(url)
        self._client = ZooKeeperClient(parsed, session_s=ttl_s)
        self._path = f"/{parsed.prefix}/node"
        self._runtime = runtime
        self._entries = Entries()
        self._grace: Grace[tuple[str, bytes]] = Grace(ttl_s)
        self._renewals = Renewals(runtime, ttl_s, self.withdraw)
        self._own: dict[NodeId, _Own] = {}
        self._folder = _Folder()
        self._changed = asyncio.Event()
        self._watched = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._saying, self._looking = asyncio.Lock(), asyncio.Lock()

    async def announce(self, node: NodeInfo) -> None:
        self._renewals.renewed(node.id)
        async with self._saying:
            await self._do(self._announce, node.id, msgspec.json.encode(node))

    async def withdraw(self, node_id: NodeId) -> None:
        async with self._saying:
            await self._do(self._withdraw, node_id)
        self._renewals.forget(node_id)

    async def changed(self) -> None:
        await self._changed.wait()

    async def nodes(self) -> tuple[NodeInfo, ...]:
        self._loop = asyncio.get_running_loop()
        async with self._looking:
            self._changed.clear()
            folder = self._folder = await self._do(self._read, self._folder)
        present = _newest(folder.bodies)
        before = self._grace.entries()
        left = {node_id for node_id, (name, _) in before.items() if name in folder.left}
        known = self._grace.look(present, left, self._runtime.monotonic_s())
        found = [self._entries.decode(node_id, body) for node_id, (_, body) in known.items()]
        return tuple(sorted(node for node in found if node is not None))

    async def close(self) -> None:
        await self._renewals.close()
        await self._runtime.blocking(self._client.close)

    async def _do(self, work: Callable[..., T], *args: object) -> T:
        return await ask_service(self._runtime, "the registry", work, *args)

    # --- off the loop -----------------------------------------------------------------------

    def _announce(self, node_id: NodeId, body: bytes) -> None:
        path = f"{self._path}/{quote(node_id, safe='')};"
        own = self._own.get(node_id)
        if own is not None and self._stands(own):
            if own.body == body:
                return
            with suppress(NoNodeError):  # it went meanwhile
                made, _ = self._client.change(_added(path, body), _removed(own.path))
                self._own[node_id] = _Own(made, body)
                return
        made = self._client.ask(
            lambda kazoo: kazoo.create_async(
                path, body, ephemeral=True, sequence=True, makepath=True
            )
        )
        self._own[node_id] = _Own(made, body)

    def _stands(self, own: _Own) -> bool:
        """Whether the entry is there, by the session of now."""
        stat = self._client.ask(lambda kazoo: kazoo.exists_async(own.path))
        return stat is not None and stat.ephemeralOwner == self._client.session

    def _withdraw(self, node_id: NodeId) -> None:
        self._own.pop(node_id, None)
        names: list[str] = []
        for _ in range(_TRIES):
            notes, stat, all_names = self._list()
            names = [name for name in all_names if _node_id(name) == node_id]
            if not names:
                return
            data = "\n".join([*notes, *names][-_NOTES:]).encode()
            removals = [_removed(f"{self._path}/{name}") for name in names]
            try:
                self._client.change(_noted(self._path, data, stat.version), *removals)
            except (BadVersionError, NoNodeError):
                continue  # somebody else left, or it went, meanwhile
            return
        # So many leave at once: without a note others believe in it for a little longer.
        for name in names:
            with suppress(NoNodeError):
                self._client.change(_removed(f"{self._path}/{name}"))

    def _read(self, last: _Folder) -> _Folder:
        stat = self._client.ask(lambda kazoo: kazoo.exists_async(self._path))
        if stat is None:
            return _Folder()
        mark = (stat.czxid, stat.pzxid, stat.mzxid)
        if mark == last.mark and self._watched:
            return last
        self._watched = True
        try:
            notes, _, names = self._list(self._stir)
        except BaseException:
            self._watched = False
            raise
        fresh = [name for name in names if name not in last.bodies]
        answers = self._client.ask_all([_body(f"{self._path}/{name}") for name in fresh])
        read = {
            name: answer[0]
            for name, answer in zip(fresh, answers, strict=True)
            if not isinstance(answer, REFUSALS)  # it went meanwhile
        }
        kept = {name: last.bodies[name] for name in names if name in last.bodies}
        # The mark is of before the list: a change between the two is read once more.
        return _Folder(mark, kept | read, frozenset(notes))

    def _stir(self, _: object) -> None:
        """The watch ended: the folder has changed, or the connection is another; any thread."""
        self._watched = False
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._changed.set)

    def _list(
        self, watch: Callable[[object], None] | None = None
    ) -> tuple[list[str], Any, list[str]]:
        """The notes of who left, the folder's stat, and the names of the entries.

        Args:
            watch: called once, when the names have changed or the connection has.
        """
        data, names = self._client.ask_all(
            [
                lambda kazoo: kazoo.get_async(self._path),
                lambda kazoo: kazoo.get_children_async(self._path, watch),
            ]
        )
        if isinstance(data, REFUSALS) or isinstance(names, REFUSALS):
            return [], None, []
        return data[0].decode(errors="replace").split(), data[1], names


def _body(path: str) -> Request:
    return lambda kazoo: kazoo.get_async(path)


def _added(path: str, body: bytes) -> Operation:
    return lambda change: change.create(path, body, ephemeral=True, sequence=True)


def _removed(path: str) -> Operation:
    return lambda change: change.delete(path)


def _noted(path: str, data: bytes, version: int) -> Operation:
    return lambda change: change.set_data(path, data, version)


def _node_id(name: str) -> NodeId:
    return NodeId(unquote(name.rpartition(";")[0]))


def _newest(bodies: dict[str, bytes]) -> dict[NodeId, tuple[str, bytes]]:
    """Of each node the entry with the highest number, by name and body."""
    numbered = sorted((name.rpartition(";")[2], name) for name in bodies if ";" in name)
    return {_node_id(name): (name, bodies[name]) for _, name in numbered}


def open_zookeeper(
    runtime: Runtime, *, url: str, nodes: Sequence[str], ttl_s: float
) -> ZooKeeperRegistry:
    """The registry in ZooKeeper at `url`."""
    return ZooKeeperRegistry(url, runtime, ttl_s=ttl_s)
