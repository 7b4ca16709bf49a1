"""Backups and restores: equal to the model at the backup's timestamp, whatever went on."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import mishards
from mishards.backup.create import BackupReport
from mishards.backup.plan import parse_renames
from mishards.backup.restore import RestoreReport
from mishards.backup.run import delete_backup, list_backups, run_backup, run_restore
from mishards.core.errors import (
    CollectionAlreadyExists,
    CollectionNotFound,
    ConfigError,
    CorruptObject,
    DataInUse,
    InvalidParameter,
    MishardsError,
)
from mishards.server.config import Config, load_config
from mishards.server.status import cluster_report
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
from mishards.testing.row_history import RowHistory, stored_rows

KINDS = ("integers", "texts", "automatic")


class Places:
    """Folders of data and of backups, and the commands on them."""

    def __init__(self, root: Path) -> None:
        self.data = root / "data"
        self.other = root / "other"
        self.target = root / "backups"

    def config(self, data: Path) -> Config:
        return load_config(options={"cluster.data": str(data)}, environ={}).config

    def backup(self, name: str = "", *collections: str, **options: Any) -> BackupReport:
        work = run_backup(self.config(self.data), str(self.target), name, collections, **options)
        return asyncio.run(work)

    def restore(
        self, data: Path, name: str = "", *collections: str, renames: tuple[str, ...] = ()
    ) -> RestoreReport:
        chosen = parse_renames(renames)
        return asyncio.run(
            run_restore(self.config(data), str(self.target), name, collections, chosen)
        )


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def assert_equals_model(uri: str, histories: Mapping[str, RowHistory], timestamp: int) -> None:
    """Each collection holds the rows of its history at the timestamp, and can be searched."""
    with connected(uri) as client:
        for name, history in histories.items():
            expected = history.rows_at(timestamp)
            assert stored_rows(client, name) == expected
            key, placed = next(iter(expected.items()))
            hits = client.search(
                name,
                [placed.values["vector"]],
                anns_field="vector",
                limit=1,
                consistency_level="Strong",
            )
            assert hits[0][0]["id"] == key


def test_a_backup_under_writes_equals_the_model(places: Places) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    small = {
        "writer__flush_rows": 400,
        "writer__build_min_rows": 100,
        "writer__delete_files_max": 3,
    }
    reports: list[BackupReport] = []
    with mishards.start(places.data, **small) as server:
        histories = {f"h_{kind}": RowHistory(server.uri, f"h_{kind}", kind, seed) for kind in KINDS}
        with ExitStack() as stack, connected(server.uri) as client:
            for history in histories.values():
                history.create(client)
                stack.enter_context(history.going_on())
            for number in range(4):
                for history in histories.values():
                    history.wait_for_more(20)
                if number == 2:
                    client.flush("h_texts")
                reports.append(places.backup(f"b{number}"))
            for history in histories.values():
                history.wait_for_more(10)
        kept = {path.relative_to(places.target).parts[0] for path in places.target.rglob("*")}
        assert kept == {"backups", "objects", "tails"}
        assert list(places.target.glob("objects/*/deletes/*")), "no file of deletes was backed up"
        cuts = [report.timestamp for report in reports]
        assert cuts == sorted(cuts)
        for history in histories.values():
            before = [change for change in history.changes if change.timestamp <= cuts[-1]]
            assert 0 < len(before) < len(history.changes), "nothing was written after the backup"
        renames = tuple(f"{name}=second.{name}_copy" for name in histories)
        beside = places.restore(places.data, "b1", renames=renames)
        assert beside.collections == tuple(f"second.{name}_copy" for name in histories)
        copies = {f"{name}_copy": history for name, history in histories.items()}
        with connected(server.uri) as client:
            client.use_database("second")
            for name, history in copies.items():
                assert stored_rows(client, name) == history.rows_at(cuts[1])
    places.restore(places.other, "b3")
    with mishards.start(places.other) as server:
        assert_equals_model(server.uri, histories, cuts[3])
        with connected(server.uri) as client:
            history = histories["h_integers"]
            client.delete("h_integers", filter="n >= 0")
            assert stored_rows(client, "h_integers") == {}
    with mishards.start(places.other) as server, connected(server.uri) as client:
        assert stored_rows(client, "h_integers") == {}
        assert stored_rows(client, "h_texts") == histories["h_texts"].rows_at(cuts[3])


def test_a_second_backup_copies_only_what_is_new(places: Places) -> None:
    with mishards.start(places.data) as server, connected(server.uri) as client:
        create(client, "docs")
        insert(client, "docs", range(3000))
        client.flush("docs")
        first = places.backup("first")
        assert first.bytes_copied == first.size_bytes > 0
        again = places.backup("again")
        assert again.size_bytes == first.size_bytes
        assert (again.bytes_copied, again.objects_copied) == (0, 0)
        insert(client, "docs", range(3000, 3500))
        client.flush("docs")
        insert(client, "docs", range(3500, 3510))
        second = places.backup("second")
        fresh = sum(
            segment["size_bytes"]
            for segment in _segments(places.target, "second")
            if segment["rows"] == 500
        )
        tail = sum(
            path.stat().st_size for path in (places.target / "tails").rglob("*") if path.is_file()
        )
        assert fresh > 0
        assert tail > 0
        assert second.bytes_copied == fresh + tail
        assert second.size_bytes == first.size_bytes + fresh + tail


def _segments(target: Path, name: str) -> list[dict[str, Any]]:
    manifest = json.loads((target / "backups" / f"{name}.json").read_bytes())
    return [s for one in manifest["backup"]["collections"] for s in one["segments"]]


def test_deleting_a_backup_keeps_what_others_name(places: Places) -> None:
    with mishards.start(places.data) as server, connected(server.uri) as client:
        create(client, "docs")
        insert(client, "docs", range(1000))
        client.flush("docs")
        places.backup("first")
        insert(client, "docs", range(1000, 1500))
        client.flush("docs")
        places.backup("second")
        client.drop_collection("docs")
        places.backup("third")
    target = str(places.target)
    removed = asyncio.run(delete_backup(target, "first"))
    assert (removed.objects, removed.size_bytes) == (0, 0)
    places.restore(places.other, "second")
    with mishards.start(places.other) as server, connected(server.uri) as client:
        assert contents(client, "docs") == dict.fromkeys(range(1500), 0)
    assert asyncio.run(delete_backup(target, "second")).objects == 6
    assert [one.name for one in asyncio.run(list_backups(target))] == ["third"]
    assert list((places.target / "objects").rglob("*")) == []
    with pytest.raises(InvalidParameter, match="no backup 'second' here; there are: third"):
        asyncio.run(delete_backup(target, "second"))


def _damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 8
    path.write_bytes(data)


def _backed_up(places: Places) -> None:
    """A data set with a segment, a file of deletes, an index and growing rows, backed up."""
    small = {"writer__build_min_rows": 10}
    with mishards.start(places.data, **small) as server, connected(server.uri) as client:
        create(client, "docs", "HNSW")
        insert(client, "docs", range(200))
        client.flush("docs")
        client.delete("docs", ids=[7])
        insert(client, "docs", range(200, 220))
        client.flush("docs")
        insert(client, "docs", range(220, 230))
        wait_for(lambda: _has_index(places), "an index is built")
        places.backup("whole")


def _has_index(places: Places) -> bool:
    report = asyncio.run(cluster_report(places.config(places.data)))
    return any(segment.indexes for segment in report.collections[0].segments)


@pytest.mark.parametrize(
    "pattern",
    [
        "backups/*.json",
        "tails/*/*/*/*",
        "objects/*/deletes/*",
        "objects/*/*/columns.arrow.*",
        "objects/*/*/*.vectors.*",
        "objects/*/*/manifest.json.*",
    ],
)
def test_damage_in_a_backup_is_found_and_named_at_restore(places: Places, pattern: str) -> None:
    _backed_up(places)
    path = next(places.target.glob(pattern))
    whole = path.read_bytes()
    _damage(path)
    with pytest.raises(CorruptObject, match=path.relative_to(places.target).as_posix()):
        places.restore(places.other)
    path.write_bytes(whole)
    places.restore(places.other)
    with mishards.start(places.other) as server, connected(server.uri) as client:
        assert contents(client, "docs") == dict.fromkeys(set(range(230)) - {7}, 0)


def test_a_damaged_index_in_a_backup_is_left_out(places: Places) -> None:
    _backed_up(places)
    path = next(places.target.glob("objects/*/*/*.index.*"))
    _damage(path)
    report = places.restore(places.other)
    assert path.name in "".join(report.warnings)
    with mishards.start(places.other) as server, connected(server.uri) as client:
        keys = sorted(contents(client, "docs"))
        assert nearest(client, "docs", query_of(1)) == true_nearest(keys, query_of(1))


def test_damage_in_the_data_is_found_at_backup(places: Places) -> None:
    _backed_up(places)
    _damage(next(places.data.glob("segments/*/*/*.index")))
    _damage(next(places.data.glob("segments/*/*/*.vectors")))
    places.target = places.target.parent / "fresh"
    with pytest.raises(CorruptObject, match=r"object 'segments/.*\.vectors' has .* are expected"):
        places.backup("bad")
    assert [one.finished for one in asyncio.run(list_backups(str(places.target)))] == [False]


@pytest.mark.parametrize(
    ("names", "renames", "error", "message"),
    [
        ((), (), DataInUse, "holds 1 collections"),
        (("docs",), (), CollectionAlreadyExists, "default.docs exists"),
        ((), ("docs=docs",), CollectionAlreadyExists, "default.docs exists"),
        (("nothing",), (), InvalidParameter, "no default.nothing in backup 'one'"),
        ((), ("docs=9x",), InvalidParameter, "9x"),
        ((), ("docs=",), InvalidParameter, "expected old=new"),
    ],
)
def test_a_restore_that_cannot_be_changes_nothing(
    places: Places,
    names: tuple[str, ...],
    renames: tuple[str, ...],
    error: type[MishardsError],
    message: str,
) -> None:
    with mishards.start(places.data) as server, connected(server.uri) as client:
        create(client, "docs")
        insert(client, "docs", range(10))
        places.backup("one")
        before = {path for path in places.data.rglob("*") if "segments" in path.parts}
        with pytest.raises(error, match=message):
            places.restore(places.data, "one", *names, renames=renames)
        assert {path for path in places.data.rglob("*") if "segments" in path.parts} == before
        assert client.list_collections() == ["docs"]


def test_what_a_backup_refuses(places: Places) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        places.backup()
    with mishards.start(places.data) as server, connected(server.uri) as client:
        create(client, "docs")
        places.backup("one", "docs")
        with pytest.raises(InvalidParameter, match="a backup 'one' is here already"):
            places.backup("one")
        with pytest.raises(InvalidParameter, match="invalid name of a backup"):
            places.backup("a/b")
        with pytest.raises(CollectionNotFound, match="nothing"):
            places.backup("two", "nothing")
        places.target = places.data / "backups"
        with pytest.raises(ConfigError, match="lie in one another"):
            places.backup()
    with pytest.raises(ConfigError, match="no such folder"):
        asyncio.run(list_backups(str(places.other)))


def test_restored_into_a_stopped_data_set_beside_the_original(places: Places) -> None:
    with mishards.start(places.data) as server, connected(server.uri) as client:
        create(client, "docs")
        client.create_alias("docs", "papers")
        insert(client, "docs", range(100))
        client.flush("docs")
        insert(client, "docs", range(100, 150))
        places.backup("one")
        client.delete("docs", ids=list(range(50)))
    places.restore(places.data, renames=("docs=docs_before",))
    with mishards.start(places.data) as server, connected(server.uri) as client:
        assert contents(client, "docs") == dict.fromkeys(range(50, 150), 0)
        assert contents(client, "docs_before") == dict.fromkeys(range(150), 0)
        assert client.describe_alias("papers")["collection_name"] == "docs"
        insert(client, "docs_before", [5000])
        assert len(contents(client, "docs_before")) == 151
        assert len(contents(client, "docs")) == 100


def test_the_commands(places: Places, cluster: LocalCluster) -> None:
    data = ("--data", str(places.data))
    to = ("--to", str(places.target))
    with mishards.start(places.data) as server, connected(server.uri) as client:
        create(client, "docs")
        insert(client, "docs", range(100))
        code, out, err = cluster.run("backup", *to, "--name", "one", *data)
        assert (code, err) == (0, "")
        assert "1 collections, 100 rows" in out
        code, out, err = cluster.run("backup", *to, "--json", "--collections", "docs", *data)
        assert json.loads(out)["collections"] == ["default.docs"]
        code, out, err = cluster.run("backup", *to, "--list", "--json")
        assert [one["rows"] for one in json.loads(out)] == [100, 100]
        code, out, err = cluster.run("backup", *to, "--delete", "one", "--list")
        assert code == 1
        assert "stand alone" in err
        source = ("--from", str(places.target))
        code, out, err = cluster.run("restore", *source, "--rename", "docs=twin", "--json", *data)
        assert json.loads(out)["collections"] == ["default.twin"]
        assert contents(client, "twin") == contents(client, "docs")
        code, out, err = cluster.run("backup", *to, "--delete", "one")
        assert "deleted backup one" in out
