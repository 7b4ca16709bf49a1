"""Settings of a proxy."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec


class ProxyConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a proxy.

    Attributes:
        host: address the Milvus API listens on.
        port: its port; 0 takes a free one.
        edge: `native`, `grpcio`, or `auto`: native where it is installed and no TLS is asked for.
        edge_threads: threads that take calls from the native edge; 0 for half of the processors
            where a reader is in the process, else for all of them, two at least.
        spin_us: how long a thread of the native edge looks for the next call before it sleeps,
            where processors are idle; 0 to sleep at once.
        tls_certificate: PEM file; with `tls_key` it turns TLS on. TLS files are read again when
            they change.
        tls_key: PEM file, not encrypted.
        tls_client_ca: PEM file; given, a client needs a certificate of one of its authorities.
        max_message_bytes: greatest request that is taken.
        linger_s: how long it still takes new calls after it was told to stop, and says already
            that it does not serve, so that balancers turn to others; not at all where nobody
            checked its health in the last minute.
        drain_s: how long calls in flight may take at shutdown, after that.
        timeout_s: time a call may take when the client names none.
        staleness_s: how old a state a BOUNDED read may see.
        no_reader_wait_s: how long a read waits for a first reader to appear.
        suspect_s: how long a reader that failed is passed over.
        stall_s: a reader that has not answered for so long is asked how it is; one that leaves
            that unanswered for as long has failed.
        partial: what becomes of a search when no reader can serve a segment: `fail`, or `partial`
            for an answer from the others that says what it misses. A search that says
            `allow_partial_results` itself decides for itself; a query is partial only if it does.
        hedge: whether slow sub-requests are sent to a second reader.
        hedge_budget: greatest share of sub-requests that are hedged.
        hedge_least_ms: a sub-request is never hedged earlier than this.
    """

    host: str = "127.0.0.1"
    port: int = 19530
    edge: str = "auto"
    edge_threads: int = 0
    spin_us: int = 800
    tls_certificate: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""
    max_message_bytes: int = 64 * 1024 * 1024
    linger_s: float = 5.0
    drain_s: float = 30.0
    timeout_s: float = 60.0
    staleness_s: float = 5.0
    no_reader_wait_s: float = 5.0
    suspect_s: float = 2.0
    stall_s: float = 0.5
    partial: Literal["fail", "partial"] = "fail"
    hedge: bool = True
    hedge_budget: float = 0.05
    hedge_least_ms: float = 10.0


class RecallConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The recall guard: proxies have a share of searches repeated exactly in the background.

    Attributes:
        share: of searches that are repeated, 0 to 1; 0 turns the guard off.
        per_minute: most that one proxy has repeated in a minute, whatever the share.
        window: how many of a collection's last repeated queries its recall is the mean of.
    """

    share: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.0
    per_minute: Annotated[float, msgspec.Meta(gt=0.0)] = 6.0
    window: Annotated[int, msgspec.Meta(ge=1)] = 100
