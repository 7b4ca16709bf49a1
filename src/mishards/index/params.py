"""Checking the parameters of indexes and searches, which clients send as numbers or as text.

Invariant: a checked parameter is an integer within its range; a name that no family of Milvus
knows is refused. Ranges and defaults: https://milvus.io/docs/index-explained.md and the page of
each index type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mishards.core.errors import InvalidParameter

INT_MAX = 2_147_483_647


class IntParam(NamedTuple):
    """An integer parameter; `default` None leaves it out when it is not given."""

    name: str
    low: int
    high: int
    default: int | None = None


IGNORED_BUILD = frozenset(
    (
        *("index_type", "metric_type", "index_name", "field_name"),
        *("mmap.enabled", "mmap_enabled", "indexoffsetcache.enabled", "warmup"),
        *("M", "efConstruction", "ef", "nlist", "nprobe", "m", "nbits", "use_elkan"),
        *("sq_type", "refine", "refine_type", "with_raw_data", "reorder_k", "sub_dim"),
    )
)
"""What Milvus takes at index creation whatever the family, where it says nothing to ours."""

IGNORED_SEARCH = frozenset(
    (
        *("index_type", "metric_type", "params", "anns_field", "topk", "limit", "offset"),
        *("round_decimal", "ignore_growing", "hints", "page_retain_order", "mmap.enabled"),
        *("ef", "level", "nprobe", "max_empty_result_buckets", "ensure_topk_full"),
        *("search_list", "reorder_k", "refine_k", "search_width", "itopk_size", "team_size"),
        *("min_iterations", "max_iterations", "M", "efConstruction", "nlist", "m", "nbits"),
    )
)
"""What Milvus takes in a search whatever the family, where it says nothing to ours."""

_INTEGER = re.compile(r"[+-]?\d{1,18}\Z")


def check_integers(
    params: Mapping[str, Any], known: Sequence[IntParam], ignored: frozenset[str]
) -> dict[str, int]:
    """The known parameters with their defaults; None as a value means the default.

    Raises:
        InvalidParameter: for a name neither known nor ignored, or a value out of range.
    """
    checked: dict[str, int] = {}
    for spec in known:
        value = params.get(spec.name)
        if value is not None:
            checked[spec.name] = _integer(spec, value)
        elif spec.default is not None:
            checked[spec.name] = spec.default
    for name in params:
        if name not in ignored and all(name != spec.name for spec in known):
            listed = ", ".join(spec.name for spec in known) or "none"
            raise InvalidParameter(f"unknown index parameter {name!r}; known are: {listed}")
    return checked


def _integer(spec: IntParam, value: Any) -> int:
    if isinstance(value, str) and _INTEGER.match(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidParameter(
            f"param '{spec.name}' ({value!r}) should be an integer "
            f"in range [{spec.low}, {spec.high}]"
        )
    if not spec.low <= value <= spec.high:
        raise InvalidParameter(
            f"param '{spec.name}' ({value}) should be in range [{spec.low}, {spec.high}]"
        )
    return value
