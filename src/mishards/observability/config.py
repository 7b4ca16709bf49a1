"""Settings of tracing."""

from __future__ import annotations

from typing import Annotated

import msgspec


class TracingConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of tracing: what is recorded, and what of it is kept.

    Attributes:
        record: whether searches, queries and writes are recorded; what was quick and went well is
            forgotten at its end, so this costs microseconds a call.
        sample: share of the calls that are kept in any case, from 0 to 1; a caller that says
            itself whether its trace is sampled decides for itself.
        slow_ms: a call that takes so long is kept, as is one that the system failed.
        slow_kept: how many slow or failed calls a proxy remembers.
    """

    record: bool = True
    sample: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    slow_ms: Annotated[float, msgspec.Meta(ge=0)] = 500.0
    slow_kept: Annotated[int, msgspec.Meta(ge=0)] = 100
