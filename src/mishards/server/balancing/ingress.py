"""Manifests that let an Ingress of Kubernetes (controller: ingress-nginx) stand before proxies.

Invariant: proxies that run in the cluster are reached through their Service; for others, a Service
and slices of endpoints are made, which need their addresses, not their names.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from mishards.core.errors import ConfigError
from mishards.server.balancing.plan import Algorithm, BalancerPlan

_PORT = 19530
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_SPREAD = {
    Algorithm.ROUND_ROBIN: 'load-balance: "round_robin"',
    # The controller has no counting of connections; this one follows the latest answers' times.
    Algorithm.LEAST_CONNECTIONS: 'load-balance: "ewma"',
    Algorithm.CONSISTENT_HASH: 'upstream-hash-by: "$remote_addr"',
}
_PREFIX = "nginx.ingress.kubernetes.io/"


def ingress_file(plan: BalancerPlan, *, host: str, secret: str, service: str = "") -> str:
    """The manifests as YAML.

    Args:
        host: name that clients connect to, on port 443.
        secret: name of the Secret with the certificate for it; gRPC passes with TLS only.
        service: an existing Service of the proxies; empty to make one for the plan's proxies.

    Raises:
        ConfigError: a name is none for Kubernetes, or an address of a proxy is no IP address.
    """
    for name in (host, secret, service or "mishards"):
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"invalid name {name!r}: small letters, digits, '-' and '.' are allowed"
            )
    made = () if service else (_service(), *_slices(plan))
    parts = [*made, _ingress(plan, host, secret, service or "mishards")]
    head = "# Made by `mishards config ingress`, for the controller ingress-nginx.\n"
    return head + "---\n".join("\n".join(lines) + "\n" for lines in parts)


def _ingress(plan: BalancerPlan, host: str, secret: str, service: str) -> list[str]:
    annotations = [
        'backend-protocol: "GRPC"',
        'proxy-body-size: "0"',
        f'proxy-read-timeout: "{plan.longest_s}"',
        f'proxy-send-timeout: "{plan.longest_s}"',
        'proxy-next-upstream: "error timeout"',
        _SPREAD[plan.algorithm],
    ]
    return [
        "apiVersion: networking.k8s.io/v1",
        "kind: Ingress",
        "metadata:",
        "  name: mishards",
        "  annotations:",
        *(f"    {_PREFIX}{annotation}" for annotation in annotations),
        "spec:",
        "  ingressClassName: nginx",
        "  tls:",
        "    - hosts:",
        f"        - {host}",
        f"      secretName: {secret}",
        "  rules:",
        f"    - host: {host}",
        "      http:",
        "        paths:",
        "          - path: /",
        "            pathType: Prefix",
        "            backend:",
        "              service:",
        f"                name: {service}",
        "                port:",
        f"                  number: {_PORT}",
    ]


def _service() -> list[str]:
    """A Service without a selector: its endpoints are listed."""
    return [
        "apiVersion: v1",
        "kind: Service",
        "metadata:",
        "  name: mishards",
        "spec:",
        "  clusterIP: None",
        "  ports:",
        "    - name: milvus",
        f"      port: {_PORT}",
    ]


def _slices(plan: BalancerPlan) -> Iterable[list[str]]:
    """A slice holds addresses of one kind that share a port."""
    groups: dict[tuple[str, int], list[str]] = {}
    for proxy in plan.proxies:
        if proxy.drained:
            continue
        host, _, port_text = proxy.address.rpartition(":")
        try:
            address = ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            raise ConfigError(
                f"proxy {proxy.name} has the address {proxy.address!r}; an Ingress reaches IP "
                "addresses: name the proxies' Service with --service"
            ) from None
        groups.setdefault((f"IPv{address.version}", int(port_text)), []).append(str(address))
    for number, ((kind, port), addresses) in enumerate(sorted(groups.items()), 1):
        yield [
            "apiVersion: discovery.k8s.io/v1",
            "kind: EndpointSlice",
            "metadata:",
            f"  name: mishards-{number}",
            "  labels:",
            "    kubernetes.io/service-name: mishards",
            f"addressType: {kind}",
            "ports:",
            "  - name: milvus",
            f"    port: {port}",
            "endpoints:",
            *(line for one in addresses for line in ("  - addresses:", f'      - "{one}"')),
        ]
