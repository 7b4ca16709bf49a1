"""Damaged and missing files: found, named, and nothing else harmed."""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from pymilvus import MilvusClient, MilvusException

import mishards
from mishards.core.errors import CorruptObject, MishardsError
from mishards.core.ids import MetadataVersion
from mishards.core.runtime import SystemRuntime
from mishards.metadata.models import SegmentMeta
from mishards.metadata.registry import open_metadata_store
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.server.config import load_config
from mishards.server.status import CollectionReport, cluster_report
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


def file_of(data: Path, name: str, what: str) -> Path:
    """The one file of a collection's segment whose name holds `what`."""
    (path,) = (path for path in segment_folder(data, name).iterdir() if what in path.name)
    return path


HARMS = ["missing", "empty", "short", "longer", "zeros", *(f"bit at {n}%" for n in (0, 40, 99))]


def do_harm(path: Path, harm: str) -> None:
    """Damage a file in one of `HARMS`."""
    whole = path.read_bytes()
    if harm == "missing":
        path.unlink()
    elif harm.startswith("bit"):
        flip(path, len(whole) * int(harm.split()[-1].rstrip("%")) // 100)
    else:
        others = {"empty": b"", "short": whole[:-1], "longer": whole + b"\0"}
        path.write_bytes(others.get(harm, bytes(len(whole))))


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


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_index_costs_speed_only_and_is_built_anew(
    data: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = file_of(data, "rows", "index")
    do_harm(path, harm)
    with caplog.at_level(logging.WARNING):
        with mishards.start(data, writer__build_min_rows=50) as server:
            with connected(server.uri) as client:
                for number in range(3):
                    query = query_of(number)
                    exact = {"params": {"nprobe": 128}}
                    found = nearest(client, "rows", query, search_params=exact)
                    assert found == true_nearest(KEYS, query)
                check_beside(client)
            wait_for(lambda: in_use(data, "rows") == {"IVF_FLAT"}, "another index is in use")
        assert str(path) in caplog.text
    (again,) = {built.name for built in segments_of(data, "rows")[0].indexes}
    assert again != path.name
    assert (path.parent / again).is_file()


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("what", ["columns", "vectors", "manifest"])
def test_a_damaged_segment_is_an_error_that_names_it(data: Path, what: str, harm: str) -> None:
    path = file_of(data, "rows", what)
    do_harm(path, harm)
    with mishards.start(data) as server, connected(server.uri) as client:
        for read in (
            lambda: nearest(client, "rows", query_of(1), timeout=10),
            lambda: client.query("rows", filter="id >= 0", limit=1000, timeout=10),
        ):
            with pytest.raises(MilvusException) as caught:
                read()
            assert str(path) in caught.value.message
            assert "of collection 'rows' cannot be served" in caught.value.message
        (segment,) = report_of(data, "rows").segments
        assert [str(path) in why for why in segment.quarantined_by.values()] == [True]
        check_beside(client)
        client.drop_collection("rows")
        assert client.list_collections() == ["beside"]
        check_beside(client)


def report_of(data: Path, name: str) -> CollectionReport:
    config = load_config(options={"cluster.data": str(data)}, environ={}).config
    collections = asyncio.run(cluster_report(config)).collections
    return next(one for one in collections if one.name == name)


def in_use(data: Path, name: str) -> set[str]:
    """What the segments of a collection are searched with."""
    return {how for one in report_of(data, name).segments for how in one.served_by.values()}


def segments_of(data: Path, name: str) -> list[SegmentMeta]:
    """A collection's segments in the metadata of a stopped cluster."""

    async def read() -> MetadataSnapshot:
        runtime = SystemRuntime(threads=1)
        store = open_metadata_store(f"sqlite:///{data / 'metadata.db'}", runtime)
        try:
            return MetadataSnapshot.empty().apply(await store.changes(MetadataVersion(0)))
        finally:
            await store.close()
            await runtime.close()

    snapshot = asyncio.run(read())
    return list(snapshot.resolve("default", name).segments.values())


def check_beside(client: MilvusClient) -> None:
    """The other collection is served, and written to."""
    for number in range(3):
        query = query_of(number)
        exact = {"params": {"nprobe": 128}}
        found = nearest(client, "beside", query, search_params=exact)
        assert found == true_nearest(KEYS[:ROWS], query)
    client.upsert("beside", [client.get("beside", ids=[1])[0]])


@pytest.mark.parametrize("harm", ["missing", "short", "bit at 40%"])
def test_a_damaged_delete_file_lets_no_deleted_row_appear(data: Path, harm: str) -> None:
    with mishards.start(data) as server, connected(server.uri) as client:
        client.delete("rows", ids=[1, 2, 3])
        client.flush("rows")
    (path,) = (path for path in (data / "segments").glob("*/deletes/*") if path.is_file())
    whole = path.read_bytes()
    do_harm(path, harm)
    with mishards.start(data, reader__quarantine_s=0.5) as server, connected(server.uri) as client:
        for read in (
            lambda: nearest(client, "rows", query_of(1), timeout=10),
            lambda: client.query("rows", filter="id >= 0", limit=1000, timeout=10),
        ):
            with pytest.raises(MilvusException, match=path.name):
                read()
        check_beside(client)
        # Put back from elsewhere, it serves again by itself.
        path.write_bytes(whole)
        left = [key for key in KEYS if key > 3 or key == 0]

        def served() -> bool:
            try:
                return contents(client, "rows") == dict.fromkeys(left, 0)
            except MilvusException:
                return False

        wait_for(served, "it is served again")


def test_the_status_names_a_segment_in_quarantine(cluster: LocalCluster, data: Path) -> None:
    path = file_of(data, "rows", "vectors")
    do_harm(path, "bit at 40%")
    with mishards.start(data) as server, connected(server.uri) as client:
        with pytest.raises(MilvusException):
            nearest(client, "rows", query_of(1), timeout=10)
        code, shown, _ = cluster.run("status", "--data", str(data))
    assert code == 0
    assert "QUARANTINED" in shown
    assert any(line.startswith("damage: ") and str(path) in line for line in shown.splitlines())


@pytest.mark.parametrize("what", ["columns", "vectors", "manifest"])
def test_a_search_may_be_partial_where_it_says_so(data: Path, what: str) -> None:
    do_harm(file_of(data, "rows", what), "bit at 40%")
    growing = KEYS[ROWS:]
    query = query_of(1)
    allowed = {"allow_partial_results": True, "params": {"nprobe": 128}}
    with mishards.start(data) as server, connected(server.uri) as client:
        found = search_of(client, query, allowed)
        assert [hit["id"] for hit in found[0]] == true_nearest(growing, query)
        assert found.recalls == [0.0]
        complete = client.search("beside", [query], search_params=allowed)
        assert complete.recalls is None
        # Nothing else is answered in part: neither counts, nor what deletes read before they write.
        for read in (
            lambda: search_of(client, query, {"params": {"nprobe": 128}}),
            lambda: client.query("rows", filter="", output_fields=["count(*)"], timeout=10),
            lambda: client.delete("rows", filter="generation == 0", timeout=10),
        ):
            with pytest.raises(MilvusException, match="cannot be served"):
                read()
        assert [hit["id"] for hit in search_of(client, query, allowed)[0]] == true_nearest(
            growing, query
        )
    with mishards.start(data, proxy__partial="partial") as server, connected(server.uri) as client:
        found = search_of(client, query, {})
        assert [hit["id"] for hit in found[0]] == true_nearest(growing, query)
        assert found.recalls == [0.0]
        with pytest.raises(MilvusException, match="cannot be served"):
            search_of(client, query, {"allow_partial_results": False})
        with pytest.raises(MilvusException, match="cannot be served"):
            client.query("rows", filter="id >= 0", limit=1000, timeout=10)


def search_of(client: MilvusClient, query: Any, params: dict[str, Any]) -> Any:
    return client.search(
        "rows", [query], limit=10, search_params=params, consistency_level="Strong", timeout=10
    )


def test_an_answer_that_covers_nothing_is_an_error(data: Path) -> None:
    do_harm(file_of(data, "beside", "vectors"), "zeros")
    asked = {"allow_partial_results": True, "ignore_growing": True}
    with mishards.start(data) as server, connected(server.uri) as client:
        assert len(client.search("rows", [query_of(1)], search_params=asked)[0]) == 10
        with pytest.raises(MilvusException, match="cannot be served"):
            client.search("beside", [query_of(1)], search_params=asked, timeout=10)


def quarantined_by(data: Path) -> list[int]:
    """By how many readers each segment is refused, in order."""
    return sorted(len(s.quarantined_by) for s in report_of(data, "rows").segments)


def refused_by_both(data: Path, client: MilvusClient, query: list[float]) -> bool:
    """Whether one segment is refused by two readers just after they were asked for it: what a
    reader is not asked for again, it forgets."""
    search_of(client, query, {"allow_partial_results": True})
    return quarantined_by(data) == [0, 2]


def test_two_readers_agree_on_what_is_damaged_and_serve_the_rest(tmp_path: Path) -> None:
    settings = ("writer.build_min_rows=50", "reader.quarantine_s=0.5")
    with LocalCluster(tmp_path, *settings) as cluster:
        processes = cluster.start_all(readers=2)
        with connected(cluster.uri) as client:
            create(client, "rows", "IVF_FLAT")
            halves = [range(ROWS), range(ROWS, 2 * ROWS)]
            folders: list[Path] = []
            for keys in halves:
                insert(client, "rows", keys)
                client.flush("rows")
                made = (path.parent for path in (cluster.data / "segments").rglob("manifest.json"))
                folders += [folder for folder in made if folder not in folders]
            wait_for(lambda: in_use(cluster.data, "rows") == {"IVF_FLAT"}, "the indexes")
            everything = [*halves[0], *halves[1]]
            query = query_of(1)
            exact = {"params": {"nprobe": 128}}
            assert nearest(client, "rows", query, search_params=exact) == true_nearest(
                everything, query
            )
            vectors = next(path for path in folders[1].iterdir() if "vectors" in path.name)
            (index,) = (path for path in folders[0].iterdir() if "index" in path.name)
            whole = vectors.read_bytes()
            do_harm(vectors, "bit at 40%")
            do_harm(index, "zeros")
            for name in ("reader-1", "reader-2"):
                processes[name].stop()
                cluster.start("reader", name=name).wait_ready()
            wait_for(lambda: in_use(cluster.data, "rows") == {"IVF_FLAT"}, "another index")
            assert len(list(folders[0].glob("*.index"))) == 2
            with pytest.raises(MilvusException, match=re.escape(str(vectors))):
                nearest(client, "rows", query, search_params=exact, timeout=10)
            found = search_of(client, query, {"allow_partial_results": True, **exact})
            assert [hit["id"] for hit in found[0]] == true_nearest(list(halves[0]), query)
            assert found.recalls == [0.5]
            wait_for(lambda: refused_by_both(cluster.data, client, query), "both readers refuse it")
            # Put back from elsewhere, it serves again by itself.
            vectors.write_bytes(whole)
            wait_for(
                lambda: search_of(client, query, {"allow_partial_results": True}).recalls is None,
                "a complete answer",
            )
            assert nearest(client, "rows", query, search_params=exact) == true_nearest(
                everything, query
            )
