"""What a vector index family is, and what an open index does.

Invariant: distances are Milvus's: squared L2 (rising), inner product and cosine (falling). A COSINE
index is given raw vectors and normalizes them itself; queries are normalized by the caller's
`prepare_queries`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mishards.core.schema import Metric

Floats = np.ndarray[Any, np.dtype[np.float32]]
Offsets = np.ndarray[Any, np.dtype[np.int64]]
Bitmap = np.ndarray[Any, np.dtype[np.uint8]]
"""Packed bits, least significant first (`np.packbits(mask, bitorder="little")`): 1 may be hit."""


class VectorIndex(Protocol):
    """An open index of one segment's field. Thread-safe; searching releases the GIL."""

    def search(
        self,
        queries: Floats,
        k: int,
        params: Mapping[str, Any],
        allowed: Bitmap | None,
        allowed_count: int,
    ) -> tuple[Floats, Offsets]:
        """The nearest rows of each query.

        Args:
            queries: shape (nq, dim), C-contiguous, finite; normalized for COSINE.
            k: at least 1; may be more than there are rows.
            params: checked search parameters.
            allowed: rows that may be hit; None for all.
            allowed_count: how many bits of `allowed` are set; ignored without it.

        Returns:
            Distances and row offsets, shape (nq, k), best first; offset -1 where there is no
            further hit.
        """


class IndexFamily(Protocol):
    """A kind of index (HNSW, IVF_FLAT, …)."""

    name: str

    def check_build(self, params: Mapping[str, str], dim: int) -> dict[str, str]:
        """The build parameters that count, defaults filled in.

        Raises:
            InvalidParameter: names the parameter, its value and what is allowed.
        """

    def check_search(self, params: Mapping[str, Any], k: int) -> dict[str, Any]:
        """The search parameters that count, defaults filled in.

        Raises:
            InvalidParameter: names the parameter, its value and what is allowed.
        """

    def build(
        self, vectors: Floats, metric: Metric, params: Mapping[str, str], path: Path, threads: int
    ) -> None:
        """Build over all rows of `vectors` (shape (n, dim), n ≥ 1) and write one file."""

    def open(self, path: Path, metric: Metric) -> VectorIndex:
        """Memory-map the file of `build`.

        Raises:
            ObjectNotFound, CorruptObject: name the path.
        """
