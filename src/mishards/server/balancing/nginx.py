"""A complete configuration of nginx.

Invariants: a call is spread by itself, also where many share a connection of a client; it is sent
to another proxy only when nothing of it reached the first, so nothing is done twice. Nginx asks
nobody how it is: it learns from calls that fail, and passes over a proxy for a few seconds then.
"""

from __future__ import annotations

from mishards.server.balancing.plan import Algorithm, BalancerPlan, BalancerTls, require_proxy_ca

_METHODS = {
    Algorithm.ROUND_ROBIN: (),
    Algorithm.LEAST_CONNECTIONS: ("least_conn;",),
    Algorithm.CONSISTENT_HASH: ("hash $remote_addr consistent;",),
}
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def nginx_file(plan: BalancerPlan) -> str:
    """The file as text; `nginx -t -c FILE` checks it."""
    own = [f"pid {plan.folder}/nginx.pid;"] if plan.folder else []
    return "\n".join(
        [
            "# Made by `mishards config nginx`. To check it: nginx -t -c FILE",
            "worker_processes auto;",
            "worker_shutdown_timeout 60s;",
            "error_log stderr warn;",
            *own,
            *_block("events", "worker_connections 8192;"),
            *_block("http", *_http(plan)),
            "",
        ]
    )


def _http(plan: BalancerPlan) -> list[str]:
    temporary = [f"{kind}_temp_path {plan.folder}/{kind};" for kind in _TEMPORARY if plan.folder]
    return [
        "access_log off;",
        *temporary,
        *_upstream("milvus", plan, {p.name: p.address for p in plan.proxies}),
        *_block(
            "server",
            *_listen(plan),
            "# A proxy that is sent too much says so by name.",
            "client_max_body_size 0;",
            f"client_body_timeout {plan.longest_s}s;",
            "# A connection lives for as long as its client wants it.",
            f"keepalive_timeout {plan.longest_s}s;",
            "keepalive_requests 1000000000;",
            "http2_max_concurrent_streams 1024;",
            *_block(
                "location /",
                *_pass(plan.tls),
                "grpc_connect_timeout 2s;",
                f"grpc_read_timeout {plan.longest_s}s;",
                f"grpc_send_timeout {plan.longest_s}s;",
                "grpc_next_upstream error timeout;",
                "grpc_next_upstream_timeout 10s;",
            ),
        ),
        *_endpoints(plan),
    ]


def _listen(plan: BalancerPlan) -> list[str]:
    certificate = plan.tls.certificate
    if not certificate:
        return [f"listen {plan.listen} http2;"]
    return [f"listen {plan.listen} ssl http2;", *_shown(certificate)]


def _pass(tls: BalancerTls) -> list[str]:
    if not tls.proxy_ca:
        return ["grpc_pass grpc://milvus;"]
    own = tls.proxy_certificate
    shown = [f"grpc_ssl_certificate {own};", f"grpc_ssl_certificate_key {own};"] if own else []
    return [
        "grpc_pass grpcs://milvus;",
        "grpc_ssl_verify on;",
        f"grpc_ssl_trusted_certificate {tls.proxy_ca};",
        f"grpc_ssl_name {tls.proxy_name};",
        "grpc_ssl_server_name on;",
        *shown,
    ]


def _upstream(name: str, plan: BalancerPlan, addresses: dict[str, str]) -> list[str]:
    drained = {proxy.name for proxy in plan.proxies if proxy.drained}
    servers = [
        f"server {address} max_fails=1 fail_timeout=2s{' down' if proxy in drained else ''};"
        for proxy, address in addresses.items()
    ]
    return _block(
        f"upstream {name}",
        f"zone {name} 256k;",
        *_METHODS[plan.algorithm],
        *servers,
        "keepalive 64;",
        "keepalive_requests 1000000000;",
    )


def _endpoints(plan: BalancerPlan) -> list[str]:
    """The proxies' HTTP endpoints: the answer of one that is ready, where there is one."""
    addresses = {proxy.name: proxy.health for proxy in plan.proxies if proxy.health}
    if not plan.http_listen or not addresses:
        return []
    require_proxy_ca(plan.tls)
    return [
        *_upstream("endpoints", plan, addresses),
        *_block(
            "server",
            *_listen_http(plan),
            *_block(
                "location /",
                *_pass_http(plan.tls),
                "proxy_http_version 1.1;",
                "proxy_set_header Connection '';",
                "proxy_connect_timeout 2s;",
                "proxy_next_upstream error timeout http_503;",
            ),
        ),
    ]


def _listen_http(plan: BalancerPlan) -> list[str]:
    if not plan.tls.certificate:
        return [f"listen {plan.http_listen};"]
    return [f"listen {plan.http_listen} ssl;", *_shown(plan.tls.certificate)]


def _pass_http(tls: BalancerTls) -> list[str]:
    if not tls.http:
        return ["proxy_pass http://endpoints;"]
    return [
        "proxy_pass https://endpoints;",
        "proxy_ssl_verify on;",
        f"proxy_ssl_trusted_certificate {tls.proxy_ca};",
        f"proxy_ssl_name {tls.proxy_name};",
        "proxy_ssl_server_name on;",
    ]


def _shown(certificate: str) -> list[str]:
    return [
        f"ssl_certificate {certificate};",
        f"ssl_certificate_key {certificate};",
        "ssl_protocols TLSv1.2 TLSv1.3;",
    ]


def _block(head: str, *lines: str) -> list[str]:
    return [f"{head} {{", *(f"    {line}" for line in lines), "}"]
