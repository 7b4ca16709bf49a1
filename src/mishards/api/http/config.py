"""Settings of a node's HTTP endpoint."""

from __future__ import annotations

from typing import Annotated

import msgspec

from mishards.core.secret import Secret

DEFAULT_PORT = 9091


class HttpConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The HTTP endpoint of every node: health, and what operators look at.

    Attributes:
        enabled: whether there is one; an embedded instance has none unless this says so.
        host: address it listens on.
        port: its port; 0 takes a free one; unset is 9091, or a free one where another process of
            the machine has that.
        metrics: whether the node measures itself and tells Prometheus at `/metrics`.
        token: asked of every request as `Authorization: Bearer …`, but of `/healthz` and
            `/readyz`. Empty for none: then nothing can be changed, and on another address than the
            loopback only health and `/metrics` are answered.
        metrics_token: opens `/metrics` and nothing else, for scrapers. Empty for `token`.
        tls_certificate: PEM file: HTTPS is spoken; needs `tls_key`. The files are read again when
            they change.
        tls_key: PEM file, not encrypted.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] | None = None
    metrics: bool = True
    token: Secret = Secret()
    metrics_token: Secret = Secret()
    tls_certificate: str = ""
    tls_key: str = ""
