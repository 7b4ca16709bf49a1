"""Every family: builds at any size, opens, finds what brute force finds, under filters too."""

from pathlib import Path

import numpy as np
import pytest

from mishards.core.errors import (
    CorruptObject,
    DiskFull,
    InternalError,
    ObjectNotFound,
    StorageError,
)
from mishards.core.schema import Metric
from mishards.index.distance import normalize, prepare_queries
from mishards.index.exact import nearest
from mishards.index.registry import family

DIM = 16
BUILD = {
    "HNSW": {"M": "16", "efConstruction": "100"},
    "IVF_FLAT": {"nlist": "32"},
    "IVF_SQ8": {"nlist": "32"},
    "IVF_PQ": {"nlist": "32", "m": "8", "nbits": "8"},
}
SEARCH = {"HNSW": {"ef": 64}}
RECALL = {"HNSW": 0.97, "IVF_FLAT": 0.97, "IVF_SQ8": 0.9, "IVF_PQ": 0.4}


def clustered(rows: int, seed: int = 1) -> np.ndarray:
    chance = np.random.default_rng(seed)
    centers = chance.normal(size=(20, DIM))
    points = centers[chance.integers(0, 20, rows)] + chance.normal(size=(rows, DIM)) * 0.6
    return points.astype(np.float32)


def opened(name: str, vectors: np.ndarray, metric: Metric, path):
    kind = family(name)
    kind.build(vectors, metric, kind.check_build(BUILD[name], DIM), path, 1)
    return kind.open(path, metric)


def search_params(name: str) -> dict:
    return family(name).check_search(SEARCH.get(name, {"nprobe": 16}), 10)


@pytest.fixture(scope="module")
def data():
    return clustered(2000), clustered(2050)[2000:]


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("name", list(BUILD))
def test_recall_and_distances(name, metric, data, tmp_path):
    vectors, queries = data[0] * 3, prepare_queries(data[1], metric)
    index = opened(name, vectors, metric, tmp_path / "index")
    distances, offsets = index.search(queries, 10, search_params(name), None, 0)
    scaled = normalize(vectors) if metric is Metric.COSINE else vectors
    exact_distances, exact = nearest(scaled, queries, 10, metric)
    hit = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(offsets, exact, strict=True)])
    assert hit >= RECALL[name]
    assert offsets.dtype == np.int64
    assert distances.dtype == np.float32
    order = np.diff(distances if metric.smaller_is_closer else -distances, axis=1)
    assert (order >= -1e-6).all()
    if name in ("HNSW", "IVF_FLAT"):
        same = offsets == exact
        np.testing.assert_allclose(distances[same], exact_distances[same], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("share", [0.5, 0.02])
@pytest.mark.parametrize("name", list(BUILD))
def test_only_allowed_rows_are_hit_and_recall_holds(name, share, data, tmp_path):
    vectors, queries = data
    index = opened(name, vectors, Metric.L2, tmp_path / "index")
    mask = np.random.default_rng(3).random(len(vectors)) < share
    allowed = np.packbits(mask, bitorder="little")
    _, offsets = index.search(queries, 10, search_params(name), allowed, int(mask.sum()))
    _, exact = nearest(vectors, queries, 10, Metric.L2, rows=np.flatnonzero(mask))
    assert mask[offsets[offsets >= 0]].all()
    hit = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(offsets, exact, strict=True)])
    assert hit >= RECALL[name] - 0.05


@pytest.mark.parametrize("metric", [Metric.L2, Metric.COSINE])
@pytest.mark.parametrize("rows", [1, 2, 40, 300])
@pytest.mark.parametrize("name", list(BUILD))
def test_few_rows_build_in_silence_and_pad(name, rows, metric, tmp_path, capfd):
    vectors = clustered(rows)
    index = opened(name, vectors, metric, tmp_path / "index")
    queries = prepare_queries(vectors[:1], metric)
    _, offsets = index.search(queries, rows + 5, {"ef": rows + 5, "nprobe": 64}, None, 0)
    assert sorted(offsets[0, :rows]) == list(range(rows))
    assert (offsets[0, rows:] == -1).all()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", list(BUILD))
def test_threads_change_nothing(name, data, tmp_path):
    vectors, queries = data
    index = opened(name, vectors, Metric.IP, tmp_path / "index")
    one = index.search(queries, 5, search_params(name), None, 0, 1)
    two = index.search(queries, 5, search_params(name), None, 0, 2)
    np.testing.assert_array_equal(one[1], two[1])


def test_a_zero_vector_has_cosine_zero(tmp_path):
    vectors = np.vstack([np.zeros((1, DIM)), clustered(5)]).astype(np.float32)
    index = opened("HNSW", vectors, Metric.COSINE, tmp_path / "index")
    distances, _ = index.search(
        prepare_queries(vectors[1:2], Metric.COSINE), 6, {"ef": 16}, None, 0
    )
    assert np.isfinite(distances).all()


@pytest.mark.parametrize("name", list(BUILD))
def test_a_missing_file_is_named(name, tmp_path):
    with pytest.raises(ObjectNotFound, match=r"nowhere\.index"):
        family(name).open(tmp_path / "nowhere.index", Metric.L2)


@pytest.mark.parametrize("contents", [b"", b"not an index at all", b"IHNf" + b"\0" * 20])
@pytest.mark.parametrize("name", list(BUILD))
def test_a_corrupt_file_is_named(name, contents, tmp_path):
    path = tmp_path / "bad.index"
    path.write_bytes(contents)
    with pytest.raises(CorruptObject, match=r"bad\.index"):
        family(name).open(path, Metric.L2)


def test_an_index_of_another_kind_or_metric_is_refused(tmp_path):
    path = tmp_path / "hnsw.index"
    opened("HNSW", clustered(50), Metric.L2, path)
    with pytest.raises(CorruptObject, match="IndexHNSWFlat"):
        family("IVF_FLAT").open(path, Metric.L2)
    with pytest.raises(CorruptObject, match="COSINE"):
        family("HNSW").open(path, Metric.COSINE)


def test_flat_has_no_file(tmp_path):
    flat = family("FLAT")
    assert not flat.builds_file
    with pytest.raises(InternalError):
        flat.open(tmp_path / "x", Metric.L2)


def test_work_of_hnsw_grows_when_fewer_rows_are_allowed(data, tmp_path):
    index = opened("HNSW", data[0], Metric.L2, tmp_path / "index")
    all_rows = index.work(10, {"ef": 64}, 2000)
    assert 0 < all_rows < index.work(10, {"ef": 64}, 200)


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(StorageError, match="no_folder"):
        opened("HNSW", clustered(5), Metric.L2, tmp_path / "no_folder" / "index")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_apart():
    with pytest.raises(DiskFull, match="/dev/full"):
        opened("HNSW", clustered(5), Metric.L2, Path("/dev/full"))


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
@pytest.mark.parametrize("name", list(BUILD))
def test_a_cut_file_is_refused(name, share, data, tmp_path):
    path = tmp_path / "cut.index"
    opened(name, data[0], Metric.L2, path)
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CorruptObject, match=r"cut\.index"):
        family(name).open(path, Metric.L2)
