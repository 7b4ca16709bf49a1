"""`mishards config nginx`, `haproxy`, `ingress`: a file for a balancer before the proxies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from mishards.cli.options import ConfigFile, Data, Settings, configuration
from mishards.core.errors import ConfigError
from mishards.observability import logs
from mishards.server.balancing.follow import keep_file
from mishards.server.balancing.haproxy import haproxy_file
from mishards.server.balancing.ingress import ingress_file
from mishards.server.balancing.nginx import nginx_file
from mishards.server.balancing.plan import (
    Algorithm,
    BalancerPlan,
    BalancerTls,
    ProxyTarget,
    checked_address,
    checked_path,
    checked_tls,
    named_proxies,
    present_proxies,
)
from mishards.server.config import Config

Proxies = Annotated[
    list[str] | None,
    typer.Option(
        "--proxy",
        help="host:port of a proxy, or host:port/port with that of its HTTP endpoint; may be "
        "repeated. Without any, the proxies of the cluster's registry.",
    ),
]
Drained = Annotated[
    list[str] | None,
    typer.Option("--drain", help="Name or address of a proxy that gets no new calls."),
]
Spread = Annotated[Algorithm, typer.Option("--algorithm", help="How calls are spread.")]
Listen = Annotated[str, typer.Option("--listen", help="Address of the Milvus API.")]
Certificate = Annotated[
    str, typer.Option("--certificate", help="PEM file of certificate and key: clients use TLS.")
]
ProxyCa = Annotated[
    str, typer.Option("--proxy-ca", help="PEM file of the proxies' authority: they serve TLS.")
]
ProxyName = Annotated[
    str, typer.Option("--proxy-name", help="What the proxies' certificates are for.")
]
ProxyCertificate = Annotated[
    str,
    typer.Option(
        "--proxy-certificate", help="PEM file of certificate and key, for proxies that ask."
    ),
]
Follow = Annotated[
    Path | None,
    typer.Option("--follow", help="Write this file instead, and anew whenever proxies change."),
]
Then = Annotated[str, typer.Option("--then", help="With --follow: run this after each change.")]
Every = Annotated[
    float, typer.Option("--every", help="With --follow: seconds between two looks.", min=0.1)
]
HttpListen = Annotated[
    str, typer.Option("--http-listen", help="Address of the HTTP endpoints; none without it.")
]


def nginx(
    proxy: Proxies = None,
    drain: Drained = None,
    algorithm: Spread = Algorithm.ROUND_ROBIN,
    listen: Listen = "0.0.0.0:19530",
    http_listen: HttpListen = "",
    folder: Annotated[
        str, typer.Option("--folder", help="Of the pid and temporary files; nginx's default.")
    ] = "",
    certificate: Certificate = "",
    proxy_ca: ProxyCa = "",
    proxy_name: ProxyName = "",
    proxy_certificate: ProxyCertificate = "",
    follow: Follow = None,
    then: Then = "",
    every: Every = 1.0,
    config: ConfigFile = None,
    data: Data = None,
    set: Settings = None,
) -> None:
    """Print a complete nginx.conf, or keep one as the cluster is."""
    loaded = configuration(config, data, set).config
    plan = BalancerPlan(
        listen=checked_address(listen),
        http_listen=http_listen and checked_address(http_listen),
        algorithm=algorithm,
        folder=checked_path(folder),
        tls=_tls(certificate, proxy_ca, proxy_name, proxy_certificate, loaded),
    )

    if follow is None:
        _print(nginx_file, plan, _proxies(proxy, drain, loaded))
    else:
        _keep(nginx_file, plan, follow, then, every, loaded, named=bool(proxy or drain))


def haproxy(
    proxy: Proxies = None,
    drain: Drained = None,
    algorithm: Spread = Algorithm.ROUND_ROBIN,
    listen: Listen = "0.0.0.0:19530",
    http_listen: HttpListen = "",
    certificate: Certificate = "",
    proxy_ca: ProxyCa = "",
    proxy_name: ProxyName = "",
    proxy_certificate: ProxyCertificate = "",
    follow: Follow = None,
    then: Then = "",
    every: Every = 1.0,
    config: ConfigFile = None,
    data: Data = None,
    set: Settings = None,
) -> None:
    """Print a complete haproxy.cfg, or keep one as the cluster is."""
    loaded = configuration(config, data, set).config
    plan = BalancerPlan(
        listen=checked_address(listen),
        http_listen=http_listen and checked_address(http_listen),
        algorithm=algorithm,
        tls=_tls(certificate, proxy_ca, proxy_name, proxy_certificate, loaded),
    )

    if follow is None:
        _print(haproxy_file, plan, _proxies(proxy, drain, loaded))
    else:
        _keep(haproxy_file, plan, follow, then, every, loaded, named=bool(proxy or drain))


def ingress(
    host: Annotated[str, typer.Option("--host", help="Name that clients connect to.")],
    proxy: Proxies = None,
    drain: Drained = None,
    algorithm: Spread = Algorithm.ROUND_ROBIN,
    secret: Annotated[
        str, typer.Option("--tls-secret", help="Secret with the certificate of the name.")
    ] = "mishards-tls",
    service: Annotated[
        str, typer.Option("--service", help="Existing Service of the proxies.")
    ] = "",
    config: ConfigFile = None,
    data: Data = None,
    set: Settings = None,
) -> None:
    """Print manifests of an Ingress for Kubernetes."""
    loaded = configuration(config, data, set).config
    plan = BalancerPlan(
        proxies=() if service else _proxies(proxy, drain, loaded),
        listen="",
        algorithm=algorithm,
    )
    print(ingress_file(plan, host=host, secret=secret, service=service), end="")


def _print(
    write: Callable[[BalancerPlan], str], plan: BalancerPlan, proxies: tuple[ProxyTarget, ...]
) -> None:
    print(write(msgspec.structs.replace(plan, proxies=proxies)), end="")


def _keep(
    write: Callable[[BalancerPlan], str],
    plan: BalancerPlan,
    path: Path,
    command: str,
    every_s: float,
    config: Config,
    *,
    named: bool,
) -> None:
    if named:
        raise ConfigError("--follow takes the registry's proxies: without --proxy and --drain")
    logs.configure(config.cluster.log_level)

    def make(proxies: Sequence[ProxyTarget]) -> str:
        return write(msgspec.structs.replace(plan, proxies=tuple(proxies)))

    asyncio.run(keep_file(config, make, path, command, every_s))


def _tls(
    certificate: str, proxy_ca: str, proxy_name: str, proxy_certificate: str, config: Config
) -> BalancerTls:
    return checked_tls(
        BalancerTls(
            certificate=certificate,
            proxy_ca=proxy_ca,
            proxy_name=proxy_name,
            proxy_certificate=proxy_certificate,
            http=bool(config.http.tls_certificate),
        )
    )


def _proxies(
    named: list[str] | None, drained: list[str] | None, config: Config
) -> tuple[ProxyTarget, ...]:
    if named:
        return named_proxies(named, drained or ())
    return asyncio.run(present_proxies(config, drained or ()))
