"""What the registry says of the nodes, and what they say themselves when they are asked.

Invariant: every question to a node has a time limit of its own; a node that leaves one unanswered
is told of as such, with what it did answer.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TypeVar

import msgspec

from mishards.core.errors import (
    MishardsError,
    NobodyListens,
    NotReady,
    TlsRefused,
    Unavailable,
)
from mishards.core.runtime import Runtime
from mishards.discovery.protocol import NodeInfo, Registry, Remembering
from mishards.doctor.findings import Trouble
from mishards.rpc.messages import (
    Condition,
    Examine,
    Introduce,
    Introduction,
    Message,
    NodeStatus,
    Reply,
    StatusReply,
)
from mishards.rpc.protocol import Transport

_SETTLE_S = 2.0
_WILDCARDS = ("0.0.0.0", "[::]", "*", "")
_LOOPBACK = ("127.", "localhost", "[::1]")
R = TypeVar("R", bound=Reply)


class Entries(msgspec.Struct, frozen=True, kw_only=True):
    """What the registry has.

    Attributes:
        nodes: that it holds for live, as they wrote themselves down.
        silent: that stopped renewing their entry and did not leave.
    """

    nodes: tuple[NodeInfo, ...]
    silent: tuple[NodeInfo, ...] = ()


class NodeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One node.

    Attributes:
        listed: its entry.
        silent: the registry holds it for dead.
        said: what it says of itself; None where it does not say, or is of an older release.
        problem: why it did not answer; empty where it did.
        asked: it was; else what its entry says has to do.
        nobody: nothing listens at its address, so it is certainly not there.
        refused: its certificate, or ours, is not taken.
        offset_ms: its clock less this machine's, at best; `error_ms` is how far that may be off.
        unreached: addresses for clients and health checks that take no connection, and why.
    """

    listed: NodeInfo
    silent: bool = False
    said: NodeInfo | None = None
    status: StatusReply | None = None
    condition: Condition | None = None
    problem: str = ""
    asked: bool = True
    nobody: bool = False
    refused: bool = False
    offset_ms: float = 0.0
    error_ms: float = 0.0
    unreached: dict[str, str] = {}

    @property
    def id(self) -> str:
        return self.listed.id

    @property
    def now(self) -> NodeInfo:
        """The newest that is known of it."""
        return self.said or self.listed

    @property
    def answers(self) -> bool:
        return not self.problem

    @property
    def serves(self) -> bool:
        """As far as can be told."""
        return (self.answers or not self.asked) and self.now.ready and not self.silent


async def read_entries(registry: Registry | Trouble, runtime: Runtime, beat_s: float) -> Entries:
    """Look twice, at least a second apart: a node whose clock is wrong counts as live only once its
    entry was seen to change. Whoever seems silent then has some more time.

    Args:
        beat_s: how often nodes renew their entries.

    Raises:
        Unavailable: the registry cannot be reached.
    """
    if isinstance(registry, Trouble):
        raise Unavailable(registry.message)
    await registry.nodes()
    await runtime.sleep(max(1.0, 2 * beat_s))
    if isinstance(registry, Remembering) and await registry.silent():
        await runtime.sleep(_SETTLE_S)
    nodes = await registry.nodes()
    silent = await registry.silent() if isinstance(registry, Remembering) else ()
    return Entries(nodes=nodes, silent=silent)


async def ask_nodes(
    entries: Entries,
    transport: Transport | Trouble,
    runtime: Runtime,
    ask_s: float,
    *,
    connect: bool = True,
) -> tuple[NodeFacts, ...]:
    """Ask all of them, at once.

    Args:
        ask_s: how long a node may take for an answer.
        connect: also try the addresses for clients and health checks.
    """
    asked = [(node, False) for node in entries.nodes] + [(node, True) for node in entries.silent]
    return tuple(
        await asyncio.gather(
            *(_ask_node(node, transport, runtime, ask_s, silent, connect) for node, silent in asked)
        )
    )


async def _ask_node(
    node: NodeInfo,
    transport: Transport | Trouble,
    runtime: Runtime,
    ask_s: float,
    silent: bool,
    connect: bool,
) -> NodeFacts:
    facts = NodeFacts(listed=node, silent=silent)
    if isinstance(transport, Trouble):
        return msgspec.structs.replace(facts, problem=transport.message, asked=False)
    try:
        said = await _ask(transport, node, Introduce(), Introduction, ask_s)
    except NotReady as error:
        return msgspec.structs.replace(facts, problem=error.message)
    except MishardsError as error:
        return msgspec.structs.replace(
            facts,
            problem=error.message,
            nobody=isinstance(error, NobodyListens),
            refused=isinstance(error, TlsRefused),
        )
    status, condition = None, None
    unreached: dict[str, str] = {}
    before_ms = runtime.now_ms()
    with suppress(MishardsError):  # one of an older release does not know the question
        condition = await _ask(transport, node, Examine(), Condition, ask_s)
    after_ms = runtime.now_ms()
    try:
        status = await _ask(transport, node, NodeStatus(), StatusReply, ask_s)
    except MishardsError as error:
        facts = msgspec.structs.replace(facts, problem=error.message)
    if connect:
        unreached = await _unreached(said.node, runtime, ask_s)
    return msgspec.structs.replace(
        facts,
        said=said.node,
        status=status,
        condition=condition,
        offset_ms=0.0 if condition is None else condition.now_ms - (before_ms + after_ms) / 2,
        error_ms=(after_ms - before_ms) / 2,
        unreached=unreached,
    )


async def _ask(
    transport: Transport, node: NodeInfo, message: Message, kind: type[R], ask_s: float
) -> R:
    """The answer.

    Raises:
        MishardsError: there is none.
    """
    answer = await transport.channel(node.address).call(message, timeout_s=ask_s)
    if not isinstance(answer, kind):
        raise Unavailable(f"{node.id} answers {type(message).__name__} in words not known here")
    return answer


async def _unreached(node: NodeInfo, runtime: Runtime, ask_s: float) -> dict[str, str]:
    """Which of the node's addresses for clients take no connection from here, and why."""
    found = {}
    for address in (node.edge, node.http):
        if not address or (is_loopback(address) and node.host != socket.gethostname()):
            continue
        host, port = reached_at(address, node.host)
        try:
            connecting = asyncio.open_connection(host, port)
            _, writer = await runtime.timeout(connecting, ask_s)
        except TimeoutError:
            found[address] = f"no connection within {ask_s:g} s"
        except OSError as error:
            found[address] = error.strerror or str(error)
        else:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
    return found


def reached_at(address: str, machine: str) -> tuple[str, int]:
    """Host and port by which others reach `host:port` of a node on `machine`."""
    host, _, port = address.rpartition(":")
    if host in _WILDCARDS:
        host = "127.0.0.1" if machine in ("", socket.gethostname()) else machine
    return host.strip("[]"), int(port) if port.isdecimal() else 0


def is_loopback(address: str) -> bool:
    """Whether `host:port`, or an address of the internal protocol, is of one machine alone."""
    return address.startswith("unix:") or address.removeprefix("tcp://").startswith(_LOOPBACK)


def is_wildcard(address: str) -> bool:
    """Whether `host:port` stands for all addresses of a machine."""
    return address.rpartition(":")[0] in _WILDCARDS
