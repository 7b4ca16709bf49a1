"""A registry in Consul: each node an instance of one service, with a check that lives by renewals.

A heartbeat is a word to the agent of the machine; Consul's servers hear of changes only. An
observer asks for the list's index alone (by a filter that nothing passes), with a blocking query
between its turns, and for the list when that is another one, higher or lower. Invariants: a change
is announced when Consul's catalog shows it, not when the agent has taken it; an instance that is
listed and not passing has fallen silent, see `discovery.grace`; one that is not listed has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import unquote

import msgspec

from mishards.core.errors import Unavailable
from mishards.core.ids import NodeId
from mishards.core.runtime import Runtime
from mishards.discovery.consul_client import ANSWER_S, ConsulClient
from mishards.discovery.consul_entries import (
    Instance,
    body_of,
    check_id,
    instance_id,
    registration,
)
from mishards.discovery.consul_url import parse_consul_url
from mishards.discovery.entries import Entries
from mishards.discovery.grace import Grace
from mishards.discovery.protocol import NodeInfo
from mishards.discovery.renewals import Renewals
from mishards.discovery.service import ask_service

T = TypeVar("T")

_NOTHING = 'Service.ID == ""'
_WAIT_S = 0.5
"""Of one blocking query: whoever closes the registry waits for its end."""
# A check that Consul does not know; releases before 1.11 answer 500.
_UNKNOWN = (404, 500)


class _View(msgspec.Struct, frozen=True):
    """The instances as they were listed at `index`."""

    index: int = 0
    instances: tuple[Instance, ...] = ()


class ConsulRegistry:
    """A `Watching` registry over Consul; calls run off the loop."""

    def __init__(self, url: str, runtime: Runtime, *, ttl_s: float) -> None:
        """Raises `ConfigError` when the URL cannot be used."""
        parsed = parse_consul_url(url)
        self._client = ConsulClient(parsed)
        self._service = parsed.service
        self._runtime = runtime
        self._ttl_s = ttl_s
        self._entries = Entries()
        self._grace: Grace[str] = Grace(ttl_s)
        self._renewals = Renewals(runtime, ttl_s, self.withdraw)
        self._shown: dict[NodeId, str] = {}
        self._view = _View()
        self._saying, self._looking = asyncio.Lock(), asyncio.Lock()

    async def announce(self, node: NodeInfo) -> None:
        self._renewals.renewed(node.id)
        async with self._saying:
            await self._do(self._announce, node)

    async def withdraw(self, node_id: NodeId) -> None:
        async with self._saying:
            await self._do(self._withdraw, node_id)
        self._renewals.forget(node_id)

    async def changed(self) -> None:
        while True:
            try:
                index = await self._do(self._index, self._view.index, _WAIT_S)
            except Unavailable:
                await self._runtime.sleep(_WAIT_S)
                continue
            if index != self._view.index:
                return

    async def nodes(self) -> tuple[NodeInfo, ...]:
        async with self._looking:
            self._view = view = await self._do(self._read, self._view)
        listed = {_node_id(one): one for one in _oldest_first(view.instances)}
        present = {node_id: one.body for node_id, one in listed.items() if one.passing}
        left = self._grace.entries().keys() - listed.keys()
        known = self._grace.look(present, left, self._runtime.monotonic_s())
        found = [self._entries.decode(node_id, body) for node_id, body in known.items()]
        return tuple(sorted(node for node in found if node is not None))

    async def close(self) -> None:
        await self._renewals.close()
        await self._runtime.blocking(self._client.close)

    async def _do(self, work: Callable[..., T], *args: object) -> T:
        try:
            return await ask_service(self._runtime, "the registry", work, *args)
        except Unavailable:
            # Checks may have run out meanwhile: what was shown may be shown no longer.
            self._shown.clear()
            raise

    # --- off the loop -----------------------------------------------------------------------

    def _announce(self, node: NodeInfo) -> None:
        body = body_of(node)
        shown = self._shown.get(node.id) == body
        path = ("agent", "check", "pass", check_id(self._service, node.id))
        if shown and self._client.put(*path, allowed=_UNKNOWN).ok:
            return
        wanted = registration(self._service, node, self._ttl_s)
        self._client.put("agent", "service", "register", body=wanted)
        self._await(
            lambda found: any(
                one.service.id == wanted["ID"] and one.passing and one.body == body for one in found
            )
        )
        self._shown[node.id] = body

    def _withdraw(self, node_id: NodeId) -> None:
        self._shown.pop(node_id, None)
        name = instance_id(self._service, node_id)
        self._client.put("agent", "service", "deregister", name, allowed=_UNKNOWN)
        self._await(lambda found: all(one.service.id != name for one in found))

    def _await(self, shows: Callable[[tuple[Instance, ...]], bool]) -> None:
        """Return when the catalog shows a change, or does not do so for a while."""
        view = self._list()
        end_s = self._runtime.monotonic_s() + ANSWER_S
        while not shows(view.instances):
            left_s = end_s - self._runtime.monotonic_s()
            if left_s <= 0:
                return  # the agent has it, and tells the servers as soon as it can
            last = view.index
            view = self._list(index=last, wait_s=left_s)
            if view.index < last:  # another past was restored: begin anew
                view = self._list()

    def _read(self, last: _View) -> _View:
        return last if self._index() == last.index else self._list()

    def _index(self, last: int = 0, wait_s: float = 0.0) -> int:
        """The list's index; with `last`, once it is higher or the time is up."""
        options: dict[str, Any] = {"index": last} if last else {}
        path = ("health", "service", self._service)
        return self._client.get(*path, filter=_NOTHING, wait_s=wait_s, **options).index

    def _list(self, **options: Any) -> _View:
        answer = self._client.get("health", "service", self._service, **options)
        return _View(answer.index, tuple(self._client.decode(answer, list[Instance])))


def _node_id(instance: Instance) -> NodeId:
    return NodeId(unquote(instance.service.id.partition(":")[2]))


def _oldest_first(instances: Sequence[Instance]) -> list[Instance]:
    """So that of several instances of a node, on several agents, the one told last counts."""
    return sorted(instances, key=lambda one: (one.passing, one.service.modify_index))


def open_consul(
    runtime: Runtime, *, url: str, nodes: Sequence[str], ttl_s: float
) -> ConsulRegistry:
    """The registry in Consul behind the agent at `url`."""
    return ConsulRegistry(url, runtime, ttl_s=ttl_s)
