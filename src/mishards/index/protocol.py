"""What a vector index family is, and what an open index does.

Invariants: distances are Milvus's: squared L2 (rising), inner product and cosine (falling). A
COSINE index is given raw vectors and normalizes them itself; queries are normalized by the
caller's `prepare_queries`. A family whose `builds_file` is false has nothing to build: the raw
vectors of the segment are searched, and its `build` and `open` must not be called.
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
        threads: int = 1,
    ) -> tuple[Floats, Offsets]:
        """The nearest rows of each query.

        Args:
            queries: shape (nq, dim), C-contiguous, finite; normalized for COSINE.
            k: at least 1; may be more than there are rows.
            params: checked search parameters.
            allowed: rows that may be hit; None for all.
            allowed_count: how many bits of `allowed` are set; ignored without it.
            threads: most threads to spread the queries over.

        Returns:
            Distances and row offsets, shape (nq, k), best first; offset -1 where there is no
            further hit.
        """

    def work(self, k: int, params: Mapping[str, Any], allowed_count: int) -> float:
        """What `search` costs per query, as a number of rows that brute force would gather and
        compare in the same time; `allowed_count` is the number of rows when all may be hit."""


class IndexFamily(Protocol):
    """A kind of index (HNSW, IVF_FLAT, …).

    Attributes:
        name: as users write it, in capitals.
        builds_file: whether there is a file to `build` and `open`.
    """

    name: str
    builds_file: bool

    def check_build(self, params: Mapping[str, str], dim: int) -> dict[str, str]:
        """The build parameters that count, defaults filled in.

        Parameters that Milvus knows for other families are left out in silence, as Milvus does.

        Raises:
            InvalidParameter: names the parameter, its value and what is allowed.
        """

    def check_search(self, params: Mapping[str, Any], k: int) -> dict[str, Any]:
        """The search parameters that count, defaults filled in; otherwise as `check_build`.

        Raises:
            InvalidParameter: names the parameter, its value and what is allowed.
        """

    def build(
        self, vectors: Floats, metric: Metric, params: Mapping[str, str], path: Path, threads: int
    ) -> None:
        """Build over all rows of `vectors` (shape (n, dim), n ≥ 1) and durably write one file.

        Works for any n: families that need training rows build something smaller over few.

        Raises:
            DiskFull, StorageError: the file could not be written.
        """

    def open(self, path: Path, metric: Metric) -> VectorIndex:
        """Memory-map the file of `build`.

        The file is trusted: its kind, metric and structure are checked, its bytes are not read.
        A caller that doubts them compares size and checksum first.

        Raises:
            ObjectNotFound, CorruptObject: name the path.
        """
