"""Files for balancers: the examples, what options change, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from mishards.core.errors import ConfigError
from mishards.server.balancing.grpc_check import check_request
from mishards.server.balancing.haproxy import haproxy_file
from mishards.server.balancing.ingress import ingress_file
from mishards.server.balancing.nginx import nginx_file
from mishards.server.balancing.plan import (
    Algorithm,
    BalancerPlan,
    BalancerTls,
    checked_address,
    checked_tls,
    named_proxies,
)

DEPLOY = Path(__file__).resolve().parents[4] / "deploy"
ADDRESSES = ("10.0.0.11:19530/9091", "10.0.0.12:19530/9091")


def plan(
    *addresses: str, drain: str = "", algorithm: Algorithm = Algorithm.ROUND_ROBIN, http: str = ""
) -> BalancerPlan:
    return BalancerPlan(
        proxies=named_proxies(addresses or ADDRESSES, [drain] if drain else []),
        listen="0.0.0.0:19530",
        http_listen=http,
        algorithm=algorithm,
    )


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("nginx/nginx.conf", nginx_file(plan(http="0.0.0.0:9091"))),
        ("haproxy/haproxy.cfg", haproxy_file(plan(http="0.0.0.0:9091"))),
        ("ingress/ingress.yaml", ingress_file(plan(), host="milvus.example.org", secret="tls")),
    ],
)
def test_the_examples_are_what_the_command_prints(name: str, made: str) -> None:
    assert (DEPLOY / name).read_text() == made


@pytest.mark.parametrize(
    ("algorithm", "nginx", "haproxy", "ingress"),
    [
        (Algorithm.ROUND_ROBIN, "zone milvus 256k;", "balance roundrobin", '"round_robin"'),
        (Algorithm.LEAST_CONNECTIONS, "least_conn;", "balance leastconn", '"ewma"'),
        (
            Algorithm.CONSISTENT_HASH,
            "hash $remote_addr consistent;",
            "hash-type consistent",
            'upstream-hash-by: "$remote_addr"',
        ),
    ],
)
def test_the_algorithm_is_chosen(
    algorithm: Algorithm, nginx: str, haproxy: str, ingress: str
) -> None:
    chosen = plan(algorithm=algorithm)
    assert nginx in nginx_file(chosen)
    assert haproxy in haproxy_file(chosen)
    assert ingress in ingress_file(chosen, host="h", secret="s")


def test_a_drained_proxy_gets_no_new_calls() -> None:
    for one in ("proxy-2", "10.0.0.12:19530"):
        drained = plan(drain=one)
        assert "server 10.0.0.12:19530 max_fails=1 fail_timeout=2s down;" in nginx_file(drained)
        (line,) = [text for text in haproxy_file(drained).splitlines() if "proxy-2" in text]
        assert line.endswith(" weight 0")
        assert "10.0.0.12" not in ingress_file(drained, host="h", secret="s")
    with pytest.raises(ConfigError, match="'proxy-3' to drain; there are: 10"):
        plan(drain="proxy-3")


def test_proxies_without_an_http_endpoint_are_asked_by_grpc() -> None:
    text = haproxy_file(plan("a:1", "b:2/3", http="*:9091"))
    assert f"tcp-check send-binary {check_request().hex()}" in text
    assert "tcp-check expect binary 00000000020801" in text
    assert "check-proto" not in text
    assert "server proxy-2 b:3" in text  # for the HTTP endpoint, where it is known
    assert "proxy-1 a:1 proto h2" in text
    assert "frontend http" not in haproxy_file(plan("a:1", http="*:9091"))


def test_an_ingress_names_a_service_or_makes_one_of_addresses() -> None:
    own = ingress_file(plan("x.y:1"), host="h", secret="s", service="proxies")
    assert "name: proxies" in own
    assert "EndpointSlice" not in own
    made = ingress_file(plan("10.0.0.1:1", "10.0.0.2:2", "[::1]:1"), host="h", secret="s")
    assert made.count("kind: EndpointSlice") == 3
    assert "addressType: IPv6" in made
    with pytest.raises(ConfigError, match=r"'x\.y:1'.*--service"):
        ingress_file(plan("x.y:1"), host="h", secret="s")
    with pytest.raises(ConfigError, match="invalid name 'a b'"):
        ingress_file(plan(), host="a b", secret="s")


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":1", "host:0", "host:70000", "host:1;", "a b:1", "h:1\nx"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="host:port is allowed"):
        checked_address(text)
    with pytest.raises(ConfigError, match="host:port is allowed"):
        named_proxies([text], [])


def test_tls_on_either_side() -> None:
    tls = BalancerTls(
        certificate="/e/site.pem", proxy_ca="/e/ca.pem", proxy_name="p.x", proxy_certificate="/e/b"
    )
    secure = msgspec.structs.replace(plan(), tls=checked_tls(tls))
    nginx, haproxy = nginx_file(secure), haproxy_file(secure)
    for line in (
        "listen 0.0.0.0:19530 ssl http2;",
        "ssl_certificate_key /e/site.pem;",
        "grpc_pass grpcs://milvus;",
        "grpc_ssl_verify on;",
        "grpc_ssl_name p.x;",
        "grpc_ssl_certificate_key /e/b;",
    ):
        assert f" {line}\n" in nginx
    assert "bind 0.0.0.0:19530 ssl crt /e/site.pem alpn h2" in haproxy
    assert "ssl alpn h2 verify required ca-file /e/ca.pem sni str(p.x)" in haproxy
    assert "proto h2\n" not in haproxy


def test_tls_to_http_endpoints() -> None:
    tls = BalancerTls(certificate="/e/site.pem", proxy_ca="/e/ca.pem", proxy_name="p.x", http=True)
    secure = msgspec.structs.replace(plan(http="0.0.0.0:9091"), tls=checked_tls(tls))
    nginx, haproxy = nginx_file(secure), haproxy_file(secure)
    for line in (
        "listen 0.0.0.0:9091 ssl;",
        "proxy_pass https://endpoints;",
        "proxy_ssl_verify on;",
        "proxy_ssl_trusted_certificate /e/ca.pem;",
        "proxy_ssl_name p.x;",
    ):
        assert f" {line}\n" in nginx
    assert "bind 0.0.0.0:9091 ssl crt /e/site.pem\n" in haproxy
    assert "port 9091 check-ssl check-alpn http/1.1\n" in haproxy
    assert "10.0.0.12:9091 ssl verify required ca-file /e/ca.pem sni str(p.x)" in haproxy


def test_secure_http_endpoints_are_asked_for_health_by_plain_balancers_and_for_nothing_else() -> (
    None
):
    tls = BalancerTls(http=True)
    haproxy = haproxy_file(msgspec.structs.replace(plan(), tls=tls))
    assert "port 9091 check-ssl check-alpn http/1.1 verify none\n" in haproxy
    for write in (nginx_file, haproxy_file):
        with pytest.raises(ConfigError, match="--http-listen needs --proxy-ca"):
            write(msgspec.structs.replace(plan(http="0.0.0.0:9091"), tls=tls))


@pytest.mark.parametrize(
    ("tls", "said"),
    [
        (BalancerTls(proxy_ca="/ca"), "together"),
        (BalancerTls(proxy_name="n"), "together"),
        (BalancerTls(proxy_certificate="/b"), "needs --proxy-ca"),
        (BalancerTls(certificate="/a b"), "'/a b'"),
        (BalancerTls(proxy_ca="/a", proxy_name="n; }"), "'n; }'"),
    ],
)
def test_tls_that_cannot_be_is_refused(tls: BalancerTls, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        checked_tls(tls)
