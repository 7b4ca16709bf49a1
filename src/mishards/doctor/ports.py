"""Ports: are those that nodes want free, and do nodes say addresses at which others reach them?"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from mishards.core.errors import ConfigError
from mishards.doctor.findings import Check, Finding
from mishards.doctor.nodes import NodeFacts, is_loopback
from mishards.rpc.address import parse_address
from mishards.server.config import Config

FREE = Check(
    "ports.free",
    "Are the ports that the configuration names free on this machine?",
    "a node does not start on a port that another process has",
)
ADVERTISED = Check(
    "ports.advertised",
    "Does every node say addresses that other machines can reach?",
    "nodes and clients on other machines connect to themselves instead, or to nobody",
)
REACHED = Check(
    "ports.reached",
    "Do the addresses for clients and health checks take connections?",
    "clients and balancers find nobody there",
)
CHECKS = (FREE, ADVERTISED, REACHED)

_LISTENING = "0A"


class PortFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A port that a node of this configuration would listen on.

    Attributes:
        setting: that names it.
        problem: why it cannot be listened on; empty where it can.
        holder: the process that has it, where that can be told: its id and its words.
    """

    setting: str
    host: str
    port: int
    problem: str = ""
    holder: tuple[int, str] | None = None


def look_at_ports(config: Config) -> tuple[PortFacts, ...]:
    """Try to listen where nodes of the configuration would. Blocking."""
    wanted = [("proxy.port", config.proxy.host, config.proxy.port)]
    if config.http.enabled and config.http.port:
        wanted.append(("http.port", config.http.host, config.http.port))
    with suppress(ConfigError):
        listen = parse_address(config.node.listen)
        if not isinstance(listen, Path):
            wanted.append(("node.listen", *listen))
    return tuple(_look(setting, host, port) for setting, host, port in wanted if port)


def _look(setting: str, host: str, port: int) -> PortFacts:
    facts = PortFacts(setting=setting, host=host, port=port)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host.strip("[]"), port), family=family).close()
    except OSError as error:
        problem = error.strerror or str(error)
        holder = port_holder(port) if error.errno == errno.EADDRINUSE else None
        return msgspec.structs.replace(facts, problem=problem, holder=holder)
    return facts


def port_holder(port: int, proc: Path = Path("/proc")) -> tuple[int, str] | None:
    """The process that listens on a TCP port of this machine; None where it cannot be told."""
    inodes = set()
    for table in ("net/tcp", "net/tcp6"):
        with suppress(OSError):
            for line in (proc / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return None
    for folder in proc.glob("[0-9]*/fd"):
        with suppress(OSError):
            if any(str(link.readlink()) in inodes for link in folder.iterdir()):
                words = (folder.parent / "cmdline").read_bytes().replace(b"\0", b" ")
                return int(folder.parent.name), words.decode(errors="replace").strip()
    return None


def judge_ports(
    ports: Sequence[PortFacts], nodes: Sequence[NodeFacts], host: str
) -> Iterator[Finding]:
    """What follows from what could be listened on, and from what nodes say.

    Args:
        host: this machine's name.
    """
    live = [node for node in nodes if node.answers]
    own = {node.now.pid for node in live if node.now.host == host}
    # Where proxies of this cluster run here, they were told their ports by themselves.
    settled = any("proxy" in node.now.roles and node.now.host == host for node in live)
    for port in ports:
        yield _port(port, own, settled)
    yield from _advertised(live)
    yield from _reached(live)


def _port(port: PortFacts, own: set[int], settled: bool) -> Finding:
    where = f"{port.setting} = {port.port} on {port.host}"
    if not port.problem:
        return FREE.ok(f"{where} is free")
    if port.holder is None:
        return FREE.warning(
            f"{where} cannot be listened on: {port.problem}",
            f"choose another {port.setting}, or see who has it: ss -ltnp 'sport = :{port.port}'",
        )
    pid, words = port.holder
    told = f"{where} is taken by process {pid}: {words[:100]}"
    if pid in own:
        return FREE.ok(f"{where} is taken by a node of this cluster")
    if settled or "mishards" in words:
        return FREE.note(told, f"another node here needs another {port.setting}")
    return FREE.warning(told, f"end that process, or choose another {port.setting}")


def _advertised(nodes: Sequence[NodeFacts]) -> Iterator[Finding]:
    if len({node.now.host for node in nodes}) < 2:
        if nodes:
            yield ADVERTISED.ok("all nodes are on one machine")
        return
    well = True
    for node in nodes:
        if is_loopback(node.listed.address):
            well = False
            yield ADVERTISED.failure(
                f"{node.id} on {node.now.host} says that it is at {node.listed.address}, which is "
                "its own machine to everybody",
                "set node.listen = 'tcp://0.0.0.0:PORT' and node.advertise = 'tcp://HOST:PORT'",
            )
        elif node.now.edge and is_loopback(node.now.edge):
            well = False
            yield ADVERTISED.note(
                f"{node.id} takes clients at {node.now.edge} alone, from its own machine",
                "set proxy.host = '0.0.0.0' unless a balancer on its machine stands before it",
            )
    if well:
        yield ADVERTISED.ok("other machines can reach every node")


def _reached(nodes: Sequence[NodeFacts]) -> Iterator[Finding]:
    well = True
    for node in nodes:
        for address, why in node.unreached.items():
            well = False
            yield REACHED.failure(
                f"{node.id} at {address} takes no connection: {why}",
                "look at firewalls between here and there, and at proxy.host and http.host",
            )
    if well and nodes:
        yield REACHED.ok("all of them do, as far as they can be reached from here")
