"""The inverted-file families: rows in lists around `nlist` centroids, `nprobe` lists searched.

Invariants: a segment of any size builds: with few rows there are fewer lists, and IVF_PQ keeps
full vectors; so what a file holds is read from the file. Under a filter more lists are probed.
Source: https://milvus.io/docs/ivf-flat.md, ivf-sq8.md, ivf-pq.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from mishards.core.errors import InvalidParameter
from mishards.core.schema import Metric
from mishards.index.distance import normalize
from mishards.index.files import faiss_metric, open_index, write_index
from mishards.index.params import IGNORED_BUILD, IGNORED_SEARCH, IntParam, check_integers
from mishards.index.protocol import Bitmap, Floats, Offsets
from mishards.index.threads import limit_threads

_NLIST = IntParam("nlist", 1, 65_536, 128)
_SEARCH = (IntParam("nprobe", 1, 65_536, 8),)
_PQ_BUILD = (_NLIST, IntParam("m", 1, 65_536), IntParam("nbits", 4, 16, 8))
_ROWS_PER_LIST = 39
"""Rows that a centroid needs to be trained on; Faiss asks for as many."""
_ROWS_PER_CODE = 4
"""Rows per code word below which product quantization is not worth training."""
_CENTROID_COST = 2.0
"""Rows that brute force compares while one centroid is compared and ranked."""
_SearchParameters: Any = faiss.SearchParametersIVF


class IvfFlatFamily:
    """See `IndexFamily`; the other inverted files differ in what their lists hold."""

    name = "IVF_FLAT"
    builds_file = True

    def check_build(self, params: Mapping[str, str], dim: int) -> dict[str, str]:
        checked = check_integers(params, (_NLIST,), IGNORED_BUILD)
        return {name: str(value) for name, value in checked.items()}

    def check_search(self, params: Mapping[str, Any], k: int) -> dict[str, Any]:
        return check_integers(params, _SEARCH, IGNORED_SEARCH)

    def build(
        self, vectors: Floats, metric: Metric, params: Mapping[str, str], path: Path, threads: int
    ) -> None:
        limit_threads(threads)
        if metric is Metric.COSINE:
            vectors = normalize(vectors)
        rows, dim = vectors.shape
        nlist = min(int(params["nlist"]), max(1, rows // _ROWS_PER_LIST))
        centroids = faiss.IndexFlat(dim, faiss_metric(metric))
        index = self._empty(centroids, dim, nlist, rows, metric, params)
        index.cp.min_points_per_centroid = 1
        index.train(vectors)
        index.add(vectors)
        write_index(index, path)

    def open(self, path: Path, metric: Metric) -> IvfIndex:
        return IvfIndex(open_index(path, metric, (faiss.IndexIVF,)))

    def _empty(
        self,
        centroids: Any,
        dim: int,
        nlist: int,
        rows: int,
        metric: Metric,
        params: Mapping[str, str],
    ) -> Any:
        """An untrained Faiss index for `rows` rows; the caller keeps `centroids` alive."""
        return faiss.IndexIVFFlat(centroids, dim, nlist, faiss_metric(metric))


class IvfSq8Family(IvfFlatFamily):
    """Lists of vectors with 8 bits per dimension."""

    name = "IVF_SQ8"

    def _empty(
        self,
        centroids: Any,
        dim: int,
        nlist: int,
        rows: int,
        metric: Metric,
        params: Mapping[str, str],
    ) -> Any:
        kind = faiss.ScalarQuantizer.QT_8bit
        return faiss.IndexIVFScalarQuantizer(centroids, dim, nlist, kind, faiss_metric(metric))


class IvfPqFamily(IvfFlatFamily):
    """Lists of vectors as `m` codes of `nbits` bits."""

    name = "IVF_PQ"

    def check_build(self, params: Mapping[str, str], dim: int) -> dict[str, str]:
        checked = check_integers(params, _PQ_BUILD, IGNORED_BUILD)
        if "m" not in checked:
            raise InvalidParameter("param 'm' is missing; IVF_PQ needs it, and it divides dim")
        if dim % checked["m"]:
            raise InvalidParameter(
                f"param 'm' ({checked['m']}) should divide the dimension of the vectors ({dim})"
            )
        return {name: str(value) for name, value in checked.items()}

    def _empty(
        self,
        centroids: Any,
        dim: int,
        nlist: int,
        rows: int,
        metric: Metric,
        params: Mapping[str, str],
    ) -> Any:
        nbits = int(params["nbits"])
        if rows < _ROWS_PER_CODE << nbits:
            return super()._empty(centroids, dim, nlist, rows, metric, params)
        index = faiss.IndexIVFPQ(
            centroids, dim, nlist, int(params["m"]), nbits, faiss_metric(metric)
        )
        index.pq.cp.min_points_per_centroid = 1
        return index


class IvfIndex:
    """See `VectorIndex`."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self._search = index.search_c
        self._rows = int(index.ntotal)
        self._lists = int(index.nlist)

    def search(
        self,
        queries: Floats,
        k: int,
        params: Mapping[str, Any],
        allowed: Bitmap | None,
        allowed_count: int,
        threads: int = 1,
    ) -> tuple[Floats, Offsets]:
        limit_threads(threads)
        nq = len(queries)
        distances = np.empty((nq, k), dtype=np.float32)
        offsets = np.empty((nq, k), dtype=np.int64)
        pointer = faiss.swig_ptr
        if allowed is None:
            settings = _SearchParameters(nprobe=min(params["nprobe"], self._lists))
        else:
            selector = faiss.IDSelectorBitmap(len(allowed), pointer(allowed))
            probes = self._probes(params["nprobe"], allowed_count)
            settings = _SearchParameters(nprobe=probes, sel=selector)
        self._search(nq, pointer(queries), k, pointer(distances), pointer(offsets), settings)
        return distances, offsets

    def work(self, k: int, params: Mapping[str, Any], allowed_count: int) -> float:
        probes = self._probes(params["nprobe"], allowed_count)
        return _CENTROID_COST * self._lists + self._rows * probes / self._lists

    def _probes(self, nprobe: int, allowed_count: int) -> int:
        """Lists to search when only `allowed_count` rows count as hits."""
        return min(self._lists, nprobe * self._rows // max(allowed_count, 1))
