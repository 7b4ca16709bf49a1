"""What a balancer has to know: the proxies, where they tell their health, and how to spread calls.

Invariant: an address that reached a plan is `host:port`, a path and a name have no blanks, quotes
or brackets: nothing else can get into a file that is made from it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from mishards.core.errors import ConfigError, NotReady
from mishards.core.runtime import SystemRuntime
from mishards.discovery.protocol import NodeInfo
from mishards.server.config import Config
from mishards.server.seams import open_seams

_ADDRESS = re.compile(r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]|\*):(\d{1,5})")
_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
_PATH = re.compile(r"[\w./@+=,-]*")
_WILDCARDS = ("0.0.0.0", "[::]", "*")


class Algorithm(StrEnum):
    """How calls are spread: in turn, to the least busy, or by the client's address."""

    ROUND_ROBIN = "round_robin"
    LEAST_CONNECTIONS = "least_connections"
    CONSISTENT_HASH = "consistent_hash"


class ProxyTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A proxy as a balancer reaches it.

    Attributes:
        name: unique, of letters, digits, `_`, `.` and `-`.
        address: of its Milvus API.
        health: of its HTTP endpoint; empty where that is not known.
        drained: whether it gets no new calls.
    """

    name: str
    address: str
    health: str = ""
    drained: bool = False


class BalancerTls(msgspec.Struct, frozen=True, kw_only=True):
    """Paths of PEM files, as the balancer finds them; an empty one turns that part off.

    Attributes:
        certificate: with its key in the same file, shown to clients: they have to use TLS.
        proxy_ca: authority of the proxies' certificates: they are spoken to by TLS.
        proxy_name: what these certificates are for; has to be given with `proxy_ca`.
        proxy_certificate: with its key in the same file, shown to proxies that ask for one.
        http: whether the proxies' HTTP endpoints speak TLS.
    """

    certificate: str = ""
    proxy_ca: str = ""
    proxy_name: str = ""
    proxy_certificate: str = ""
    http: bool = False


class BalancerPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a file is made from.

    Attributes:
        listen: address of the Milvus API before the proxies.
        http_listen: the same of their HTTP endpoints; empty for none.
        folder: where the balancer keeps its pid and temporary files; empty for its own default.
        longest_s: how long a call may take.
    """

    proxies: tuple[ProxyTarget, ...] = ()
    listen: str
    http_listen: str = ""
    algorithm: Algorithm = Algorithm.ROUND_ROBIN
    folder: str = ""
    longest_s: int = 600
    tls: BalancerTls = BalancerTls()


def checked_address(text: str) -> str:
    """An address as given.

    Raises:
        ConfigError: it is no `host:port`.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None or not 0 < int(found.group(1)) <= 65535:
        raise ConfigError(f"invalid address {text!r}: host:port is allowed")
    return text


def checked_path(text: str) -> str:
    """A path as given.

    Raises:
        ConfigError: it cannot stand in a balancer's file as it is.
    """
    if not _PATH.fullmatch(text):
        raise ConfigError(
            f"invalid path {text!r}: letters, digits and any of . / @ + = , _ - are allowed"
        )
    return text


def checked_tls(tls: BalancerTls) -> BalancerTls:
    """The same.

    Raises:
        ConfigError: a path or the name cannot be used, or the name is missing.
    """
    for text in msgspec.structs.astuple(tls):
        if isinstance(text, str):
            checked_path(text)
    if bool(tls.proxy_ca) != bool(tls.proxy_name):
        raise ConfigError("--proxy-ca and --proxy-name are given together, or not at all")
    if tls.proxy_certificate and not tls.proxy_ca:
        raise ConfigError("--proxy-certificate needs --proxy-ca")
    return tls


def require_proxy_ca(tls: BalancerTls) -> None:
    """Look whether what clients ask of secure HTTP endpoints, tokens among it, goes to nobody else.

    Raises:
        ConfigError: it would.
    """
    if tls.http and not tls.proxy_ca:
        raise ConfigError(
            "the proxies' HTTP endpoints speak TLS: --http-listen needs --proxy-ca and --proxy-name"
        )


def named_proxies(addresses: Sequence[str], drained: Sequence[str]) -> tuple[ProxyTarget, ...]:
    """Proxies by their addresses: `host:port` of the Milvus API, or `host:port/port`, the second
    that of the HTTP endpoint.

    Raises:
        ConfigError: one cannot be used, or `drained` names none of them.
    """
    found = []
    for number, text in enumerate(addresses, 1):
        address, separator, port = text.partition("/")
        checked_address(address)
        host = address.rpartition(":")[0]
        health = checked_address(f"{host}:{port}") if separator else ""
        found.append(ProxyTarget(name=f"proxy-{number}", address=address, health=health))
    return _with_drained(found, drained)


async def present_proxies(config: Config, drained: Sequence[str]) -> tuple[ProxyTarget, ...]:
    """The proxies that the cluster's registry lists.

    Raises:
        NotReady: there are none.
        ConfigError: there is no such data set, or `drained` names none of the proxies.
        Unavailable: the registry cannot be reached.
    """
    config.require_data()
    runtime = SystemRuntime(threads=2)
    try:
        seams = await open_seams(config, runtime)
        try:
            nodes = await seams.registry.nodes()
        finally:
            await seams.close()
    finally:
        await runtime.close()
    found = serving_proxies(nodes)
    if not found:
        raise NotReady(
            "the registry lists no proxy that serves: start one, or name them with "
            "--proxy host:port"
        )
    return _with_drained(found, drained)


def serving_proxies(nodes: Sequence[NodeInfo]) -> list[ProxyTarget]:
    """The proxies among nodes of a registry, but those that start or have left."""
    return [_target(node) for node in nodes if node.ready and node.edge]


def _target(node: NodeInfo) -> ProxyTarget:
    return ProxyTarget(
        name=_NAME.sub("-", node.id),
        address=reachable(node.edge, node.host),
        health=reachable(node.http, node.host) if node.http else "",
    )


def reachable(address: str, machine: str) -> str:
    """The address that others use; a node that listens everywhere is reached by its machine."""
    host, _, port = address.rpartition(":")
    return checked_address(f"{machine}:{port}" if host in _WILDCARDS else address)


def _with_drained(
    proxies: Sequence[ProxyTarget], drained: Sequence[str]
) -> tuple[ProxyTarget, ...]:
    known = {text for proxy in proxies for text in (proxy.name, proxy.address)}
    if unknown := set(drained) - known:
        raise ConfigError(
            f"no proxy {min(unknown)!r} to drain; there are: {', '.join(sorted(known))}"
        )
    return tuple(
        msgspec.structs.replace(proxy, drained=proxy.name in drained or proxy.address in drained)
        for proxy in proxies
    )
