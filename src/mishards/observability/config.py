"""Settings of tracing."""

from __future__ import annotations

from typing import Annotated

import msgspec

from mishards.core.secret import ConfidentialUrl, Secret


class TracingConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of tracing: what is recorded, and what of it is kept.

    Attributes:
        record: whether searches, queries and writes are recorded; what was quick and went well is
            forgotten at its end, so this costs microseconds a call.
        sample: share of the calls that are kept in any case, from 0 to 1; a caller that says
            itself whether its trace is sampled decides for itself.
        slow_ms: a call that takes so long is kept, as is one that the system failed.
        slow_kept: how many slow or failed calls a proxy remembers.
        exporter: where a proxy sends the traces that are kept: `otlp` (Jaeger, every OpenTelemetry
            collector), `zipkin`, a plugin; empty for nowhere.
        endpoint: URL of the collector. For `otlp` `http://host:4318` or `https://…`
            (HTTP/protobuf), `grpc://host:4317` or `grpcs://…` (gRPC); for `zipkin`
            `http://host:9411` or `https://…`; empty for that on this machine.
        headers: sent with every export: `name=value,name=value`, `%2C` for a comma in a value.
        ca: PEM file: the authorities that the collector's certificate is checked by; empty for
            those of the system.
        timeout_s: an export that takes longer has failed.
        queue: traces that may wait to be sent; what is beyond is dropped, and counted.
        flush_s: how long a proxy that stops goes on sending what waits.
    """

    record: bool = True
    sample: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    slow_ms: Annotated[float, msgspec.Meta(ge=0)] = 500.0
    slow_kept: Annotated[int, msgspec.Meta(ge=0)] = 100
    exporter: str = ""
    endpoint: ConfidentialUrl = ""
    headers: Secret = Secret()
    ca: str = ""
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 5.0
    queue: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 2048
    flush_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 3.0
