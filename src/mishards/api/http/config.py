"""Settings of a node's HTTP endpoint."""

from __future__ import annotations

from typing import Annotated

import msgspec

DEFAULT_PORT = 9091


class HttpConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The HTTP endpoint of every node: `/healthz`, `/readyz` and `/metrics`.

    Attributes:
        enabled: whether there is one; an embedded instance has none unless this says so.
        host: address it listens on.
        port: its port; 0 takes a free one; unset is 9091, or a free one where another process of
            the machine has that.
        metrics: whether the node measures itself and tells Prometheus at `/metrics`.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] | None = None
    metrics: bool = True
