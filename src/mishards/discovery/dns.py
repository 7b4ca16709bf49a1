"""Nodes by the records of a name: SRV, or A and AAAA with one port.

`dns://[server[:port]]/_mishards._tcp.example.org` asks for SRV records, as names with a leading `_`
do; `dns://[server[:port]]/nodes.example.org?port=19540` for addresses. Further names follow after
commas, and `refresh_s` says how often they are asked for. Invariants: a name that cannot be asked
for, or has no records, leaves what is known of all names in place, and is told of once; records say
where nodes are, and nothing of what they are.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from urllib.parse import parse_qs, urlsplit

import dns.exception
import dns.resolver
import msgspec

from mishards.core.errors import ConfigError, Unavailable
from mishards.core.ids import NodeId
from mishards.core.runtime import Runtime
from mishards.discovery.protocol import NodeInfo

_ANSWER_S = 5.0
_TRY_S = 1.0
"""After which the question is put again, within the above: datagrams get lost."""
_REFRESH_S = 5.0
_FORM = "dns://[server[:port]]/_service._tcp.name or dns://[server[:port]]/name?port=19540"
_log = logging.getLogger(__name__)


class DnsUrl(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for, and whom.

    Attributes:
        server: address of a name server; empty for those of the system.
        node_port: of the nodes, where a name has addresses only.
    """

    server: str
    server_port: int
    names: tuple[str, ...]
    node_port: int
    refresh_s: float


class DnsRegistry:
    """A `Registry` over DNS; it is asked off the loop."""

    is_list = True

    def __init__(self, url: DnsUrl, runtime: Runtime) -> None:
        self._url = url
        self._runtime = runtime
        self._resolver = dns.resolver.Resolver(configure=not url.server)
        self._resolver.lifetime = _ANSWER_S
        self._resolver.timeout = _TRY_S
        if url.server:
            self._resolver.nameservers = [url.server]
            self._resolver.port = url.server_port
        self._nodes: tuple[NodeInfo, ...] = ()
        self._due_s = float("-inf")
        self._said = ""

    async def announce(self, node: NodeInfo) -> None:
        """The records are somebody else's: nothing changes."""

    async def withdraw(self, node_id: NodeId) -> None:
        """The records are somebody else's: nothing changes."""

    async def nodes(self) -> tuple[NodeInfo, ...]:
        if self._runtime.monotonic_s() < self._due_s:
            return self._nodes
        try:
            addresses = await self._runtime.blocking(self._ask)
        except (dns.exception.DNSException, OSError) as error:
            names = ", ".join(self._url.names)
            if not self._nodes:
                raise Unavailable(f"the records of {names} cannot be had: {error}") from error
            self._say(f"the records of {names} stay as they were: {error}")
        else:
            self._say("")
            self._nodes = tuple(_node(address) for address in sorted(addresses))
        self._due_s = self._runtime.monotonic_s() + self._url.refresh_s
        return self._nodes

    async def close(self) -> None:
        """Nothing is held."""

    def _say(self, state: str) -> None:
        # A failure says how long it took, so that two of a kind differ in words.
        if bool(state) != bool(self._said):
            names = ", ".join(self._url.names)
            _log.warning("%s", state or f"the records of {names} can be had again")
        self._said = state

    def _ask(self) -> set[str]:
        """Addresses of all names; off the loop. Raises where a name has none."""
        return {address for name in self._url.names for address in self._addresses(name)}

    def _addresses(self, name: str) -> list[str]:
        if name.startswith("_"):
            records = self._resolver.resolve(name, "SRV")
            return [
                f"tcp://{record.target.to_text(omit_final_dot=True)}:{record.port}"
                for record in records
            ]
        hosts = self._resolver.resolve_name(name, lifetime=_ANSWER_S).addresses()
        port = self._url.node_port
        return [
            f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}" for host in hosts
        ]


def _node(address: str) -> NodeInfo:
    """A node of which only the address is known; the address stands for its id."""
    return NodeInfo(id=NodeId(address), roles=(), address=address)


def parse_dns_url(url: str) -> DnsUrl:
    """The parts of `url`.

    Raises:
        ConfigError: it is none; names it and the form.
    """
    parts = urlsplit(url)
    names = tuple(name for name in parts.path.removeprefix("/").split(",") if name)
    known = parse_qs(parts.query, keep_blank_values=True)
    try:
        server_port = parts.port or 53
        node_port = int(known.pop("port", ["0"])[-1])
        refresh_s = float(known.pop("refresh_s", [str(_REFRESH_S)])[-1])
    except ValueError as error:
        raise ConfigError(f"invalid discovery {url!r}: {error}; expected {_FORM}") from error
    needs_port = any(not name.startswith("_") for name in names)
    ports_fit = 0 < node_port < 65536 or (not needs_port and not node_port)
    if parts.scheme != "dns" or known or not names or not ports_fit or not refresh_s > 0:
        raise ConfigError(f"invalid discovery {url!r}: expected {_FORM}, and refresh_s above 0")
    return DnsUrl(
        server=parts.hostname or "",
        server_port=server_port,
        names=names,
        node_port=node_port,
        refresh_s=refresh_s,
    )


def open_dns(runtime: Runtime, *, url: str, nodes: Sequence[str], ttl_s: float) -> DnsRegistry:
    """The registry of a `dns://` URL; raises `ConfigError` where it is none."""
    return DnsRegistry(parse_dns_url(url), runtime)
