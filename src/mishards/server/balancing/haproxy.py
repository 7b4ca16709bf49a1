"""A complete configuration of HAProxy.

Invariants: a call is spread by itself, also where many share a connection of a client; it is sent
again only when the connection to the proxy could not be made, so nothing is done twice. Proxies are
asked `/readyz` where all their HTTP endpoints are known, else the gRPC health service.
"""

from __future__ import annotations

from mishards.server.balancing.grpc_check import SERVING, check_request
from mishards.server.balancing.plan import (
    Algorithm,
    BalancerPlan,
    BalancerTls,
    ProxyTarget,
    require_proxy_ca,
)

_BALANCE = {
    Algorithm.ROUND_ROBIN: ("balance roundrobin",),
    Algorithm.LEAST_CONNECTIONS: ("balance leastconn",),
    Algorithm.CONSISTENT_HASH: ("balance source", "hash-type consistent"),
}
_HTTP_CHECK = (
    "option httpchk",
    "http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host mishards",
    "http-check expect status 200",
)

_CHECKS = "default-server check inter 1s fall 2 rise 1"


def haproxy_file(plan: BalancerPlan) -> str:
    """The file as text; `haproxy -c -f FILE` checks it."""
    http = all(proxy.health for proxy in plan.proxies)
    return (
        "\n\n".join(
            [
                "# Made by `mishards config haproxy`. To check it: haproxy -c -f FILE",
                _section("global", "hard-stop-after 60s"),
                _section(
                    "defaults",
                    "mode http",
                    "timeout connect 2s",
                    f"timeout client {plan.longest_s}s",
                    f"timeout server {plan.longest_s}s",
                    "timeout http-request 30s",
                    "timeout check 5s",
                    "retries 2",
                    "retry-on conn-failure",
                    "option redispatch 1",
                ),
                _section("frontend milvus", _bind(plan), "default_backend proxies"),
                _section(
                    "backend proxies",
                    *_BALANCE[plan.algorithm],
                    *(_HTTP_CHECK if http else _grpc_check()),
                    _CHECKS,
                    *(_server(proxy, plan.tls, http=http) for proxy in plan.proxies),
                ),
                *_http_sections(plan),
            ]
        )
        + "\n"
    )


def _section(head: str, *lines: str) -> str:
    return "\n".join([head, *(f"    {line}" for line in lines)])


def _bind(plan: BalancerPlan) -> str:
    if plan.tls.certificate:
        return f"bind {plan.listen} ssl crt {plan.tls.certificate} alpn h2"
    return f"bind {plan.listen} proto h2"


def _server(proxy: ProxyTarget, tls: BalancerTls, *, http: bool) -> str:
    words = ["server", proxy.name, proxy.address]
    if tls.proxy_ca:
        words += ["ssl alpn h2 verify required", f"ca-file {tls.proxy_ca}"]
        words += [f"sni str({tls.proxy_name}) verifyhost {tls.proxy_name}"]
        if tls.proxy_certificate:
            words.append(f"crt {tls.proxy_certificate}")
        if not http:
            words.append(f"check-alpn h2 check-sni {tls.proxy_name}")
    else:
        words.append("proto h2")
    if http:
        host, _, port = proxy.health.rpartition(":")
        words += ["check-proto h1", f"addr {host}", f"port {port}"]
        if tls.http:
            # What it answers is no secret, and nothing secret is sent.
            words += ["check-ssl check-alpn http/1.1", *([] if tls.proxy_ca else ["verify none"])]
    if proxy.drained:
        words.append("weight 0")
    return " ".join(words)


def _grpc_check() -> tuple[str, ...]:
    """The gRPC health service, whose request and answer HAProxy has to be given as bytes."""
    return (
        "option tcp-check",
        "tcp-check connect default",
        f"tcp-check send-binary {check_request().hex()}",
        f"tcp-check expect binary {SERVING.hex()}",
    )


def _http_sections(plan: BalancerPlan) -> list[str]:
    proxies = [proxy for proxy in plan.proxies if proxy.health]
    if not plan.http_listen or not proxies:
        return []
    require_proxy_ca(plan.tls)
    shown = f" ssl crt {plan.tls.certificate}" if plan.tls.certificate else ""
    servers = (f"server {proxy.name} {proxy.health}{_secured(plan.tls)}" for proxy in proxies)
    return [
        _section("frontend http", f"bind {plan.http_listen}{shown}", "default_backend endpoints"),
        _section(
            "backend endpoints",
            "balance roundrobin",
            *_HTTP_CHECK,
            _CHECKS,
            *servers,
        ),
    ]


def _secured(tls: BalancerTls) -> str:
    if not tls.http:
        return ""
    name = tls.proxy_name
    return f" ssl verify required ca-file {tls.proxy_ca} sni str({name}) verifyhost {name}"
