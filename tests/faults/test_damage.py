"""Damaged and missing files: found, named, and nothing else harmed."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
from pymilvus import MilvusClient, MilvusException

import mishards
from mishards.core.errors import CorruptObject, MishardsError
from mishards.testing.client_rows import (
    connected,
    contents,
    create,
    insert,
    nearest,
    query_of,
    true_nearest,
)
from mishards.testing.local_cluster import LocalCluster, wait_for

ROWS = 200
KEYS = list(range(ROWS + 50))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of two collections, each with a sealed, indexed segment; one with growing rows too."""
    data = tmp_path_factory.mktemp("original") / "data"
    with mishards.start(data, writer__build_min_rows=50) as server, connected(server.uri) as client:
        for name in ("rows", "beside"):
            create(client, name, "IVF_FLAT")
            insert(client, name, range(ROWS))
            client.flush(name)
            wait_for(
                lambda name=name: not client.describe_index(name, "vector")["pending_index_rows"],
                "the index",
            )
        for start in range(ROWS, len(KEYS), 10):
            insert(client, "rows", range(start, start + 10))
    return data


@pytest.fixture
def data(original: Path, tmp_path: Path) -> Path:
    """A copy to do harm to."""
    return Path(shutil.copytree(original, tmp_path / "data"))


def entries(data: Path) -> list[Path]:
    return sorted(path for path in (data / "log/0").iterdir() if path.name[0] != ".")


def flip(path: Path, position: int) -> None:
    """Turn one bit of a file."""
    damaged = bytearray(path.read_bytes())
    damaged[position] ^= 0x10
    path.write_bytes(damaged)


def segment_folder(data: Path, name: str) -> Path:
    """Of the only segment; collections were made in the order of their ids."""
    folders = sorted(
        (path.parent for path in (data / "segments").rglob("*manifest*")),
        key=lambda folder: int(folder.parent.name),
    )
    assert len(folders) == 2
    return folders[("rows", "beside").index(name)]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_flipped_bit_in_the_log_stops_the_start_and_is_named(data: Path, share: float) -> None:
    damaged = entries(data)[-3]
    position = int(damaged.stat().st_size * share)
    flip(damaged, position)
    with pytest.raises(CorruptObject, match=f"log/0/{damaged.name}"):
        mishards.start(data)
    flip(damaged, position)
    with mishards.start(data) as server, connected(server.uri) as client:
        assert contents(client, "rows") == dict.fromkeys(KEYS, 0)


def test_the_command_says_what_is_damaged(cluster: LocalCluster, data: Path) -> None:
    damaged = entries(data)[-3]
    flip(damaged, damaged.stat().st_size // 2)
    for command in (("up", "--port", "0"), ("writer",)):
        code, _, words = cluster.run(*command, "--data", str(data))
        assert code == 1
        assert words.splitlines()[-1].startswith("mishards: ")
        assert f"log/0/{damaged.name}" in words.splitlines()[-1]
        assert "Traceback" not in words


def test_a_missing_entry_amid_the_log_stops_the_start_and_is_named(data: Path) -> None:
    gone = entries(data)[-3]
    gone.unlink()
    with pytest.raises(MishardsError, match=f"log/0/{gone.name}"):
        mishards.start(data)


@pytest.mark.parametrize("kept", [0, 1, 20, -1])
def test_a_torn_last_entry_is_passed_over_with_a_warning(
    data: Path, kept: int, caplog: pytest.LogCaptureFixture
) -> None:
    # An entry that was never acknowledged, cut short.
    last = entries(data)[-1]
    torn = last.with_name(f"{int(last.name) + 1:020d}")
    torn.write_bytes(last.read_bytes()[:kept])
    with caplog.at_level(logging.WARNING), mishards.start(data) as server:
        assert torn.name in caplog.text
        with connected(server.uri) as client:
            assert contents(client, "rows") == dict.fromkeys(KEYS, 0)
            insert(client, "rows", [9_000])
    with mishards.start(data) as server, connected(server.uri) as client:
        assert contents(client, "rows") == dict.fromkeys([*KEYS, 9_000], 0)


def test_an_index_file_that_is_missing_or_damaged_costs_speed_only(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    missing, short = (
        next(path for path in segment_folder(data, name).rglob("*") if "index" in path.name)
        for name in ("rows", "beside")
    )
    missing.unlink()
    short.write_bytes(short.read_bytes()[:-10])
    with caplog.at_level(logging.WARNING), mishards.start(data) as server:
        with connected(server.uri) as client:
            for number in range(3):
                query = query_of(number)
                # With its default parameters an IVF index would be inexact.
                assert nearest(client, "rows", query) == true_nearest(KEYS, query)
                assert nearest(client, "beside", query) == true_nearest(KEYS[:ROWS], query)
        assert str(missing) in caplog.text
        assert str(short) in caplog.text


@pytest.mark.parametrize("harm", ["missing", "short", "zeros"])
@pytest.mark.parametrize("what", ["columns", "vectors", "manifest"])
def test_a_damaged_segment_is_an_error_that_names_it(data: Path, what: str, harm: str) -> None:
    if (what, harm) == ("vectors", "zeros"):
        pytest.skip("vectors have no format, and their checksum is not compared at opening")
    folder = segment_folder(data, "rows")
    (path,) = (path for path in folder.iterdir() if what in path.name)
    if harm == "missing":
        path.unlink()
    else:
        size = path.stat().st_size
        path.write_bytes(path.read_bytes()[:-1] if harm == "short" else bytes(size))
    with mishards.start(data) as server, connected(server.uri) as client:
        for read in (
            lambda: nearest(client, "rows", query_of(1), timeout=10),
            lambda: client.query("rows", filter="id >= 0", limit=1000, timeout=10),
        ):
            with pytest.raises(MilvusException) as caught:
                read()
            assert str(path) in caught.value.message
        check_beside(client)
        client.drop_collection("rows")
        assert client.list_collections() == ["beside"]
        check_beside(client)


def check_beside(client: MilvusClient) -> None:
    """The other collection is served, and written to."""
    for number in range(3):
        query = query_of(number)
        exact = {"params": {"nprobe": 128}}
        found = nearest(client, "beside", query, search_params=exact)
        assert found == true_nearest(KEYS[:ROWS], query)
    client.upsert("beside", [client.get("beside", ids=[1])[0]])
