"""FLAT: exact search over a segment's raw vectors, which needs no file of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mishards.core.errors import InternalError
from mishards.core.schema import Metric
from mishards.index.params import IGNORED_BUILD, IGNORED_SEARCH, check_integers
from mishards.index.protocol import Floats, VectorIndex


class FlatFamily:
    """See `IndexFamily`."""

    name = "FLAT"
    builds_file = False

    def check_build(self, params: Mapping[str, str], dim: int) -> dict[str, str]:
        check_integers(params, (), IGNORED_BUILD)
        return {}

    def check_search(self, params: Mapping[str, Any], k: int) -> dict[str, Any]:
        check_integers(params, (), IGNORED_SEARCH)
        return {}

    def build(
        self, vectors: Floats, metric: Metric, params: Mapping[str, str], path: Path, threads: int
    ) -> None:
        raise InternalError("a FLAT index has no file to build")

    def open(self, path: Path, metric: Metric) -> VectorIndex:
        raise InternalError(f"a FLAT index has no file to open; asked for {path}")
