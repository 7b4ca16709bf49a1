"""Index files: Faiss's own format, written durably and memory-mapped."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import faiss

from mishards.core.errors import CorruptObject, DiskFull, ObjectNotFound, StorageError
from mishards.core.schema import Metric

_WRITE_BYTES = 1 << 20
_CallbackWriter: Any = vars(faiss)["PyCallbackIOWriter"]


def faiss_metric(metric: Metric) -> int:
    """Faiss's number of a metric; COSINE is the inner product of normalized vectors."""
    number: int = faiss.METRIC_L2 if metric is Metric.L2 else faiss.METRIC_INNER_PRODUCT
    return number


def write_index(index: Any, path: Path) -> None:
    """Write the index to `path` and wait until it is on the disk.

    Raises:
        DiskFull, StorageError: it could not be written; what is there is to be removed.
    """
    failures: list[OSError] = []

    def write(data: bytes) -> None:
        # Faiss loses errors of its own writer, and what a callback raises.
        if not failures:
            try:
                file.write(data)
            except OSError as error:
                failures.append(error)

    try:
        with path.open("wb") as file:
            faiss.write_index(index, _CallbackWriter(write, _WRITE_BYTES))
            if failures:
                raise failures[0]
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        failure = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StorageError
        raise failure(f"index file {path} cannot be written: {error}") from error


def open_index(path: Path, metric: Metric, kinds: tuple[type[Any], ...]) -> Any:
    """Memory-map an index file.

    Args:
        kinds: Faiss classes that the file may hold.

    Raises:
        ObjectNotFound: there is no such file.
        CorruptObject: the file is not an index of these kinds and this metric.
    """
    if not path.is_file():
        raise ObjectNotFound(f"index file {path} is missing")
    try:
        index = faiss.read_index(os.fspath(path), faiss.IO_FLAG_MMAP_IFC)
    except (RuntimeError, MemoryError) as error:
        raise CorruptObject(f"index file {path} cannot be read: {error}") from error
    if not isinstance(index, kinds) or index.metric_type != faiss_metric(metric):
        raise CorruptObject(
            f"index file {path} holds a {type(index).__name__} of metric {index.metric_type}; "
            f"expected {' or '.join(kind.__name__ for kind in kinds)} for {metric}"
        )
    return index
