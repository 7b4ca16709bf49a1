"""`mishards check` and `mishards scrub` on real data: what is damaged is found and named."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import mishards
from mishards.cli.main import app
from mishards.core.errors import ConfigError
from mishards.core.ids import MetadataVersion
from mishards.metadata.journal import entry_key
from mishards.server.config import Config, load_config
from mishards.testing.client_rows import connected, contents, create, insert
from mishards.testing.local_cluster import LocalCluster, wait_for
from mishards.upkeep.findings import Finding, Inspected, Subject
from mishards.upkeep.run import run_inspection

SMALL = {"writer__flush_rows": 10_000, "writer__build_min_rows": 100}


def config(data: Path) -> Config:
    return load_config(options={"cluster.data": str(data)}, environ={}).config


def inspected(data: Path, *, deep: bool = False, report: bool = False) -> Inspected:
    return asyncio.run(run_inspection(config(data), deep=deep, report=report))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped data set with a segment, an index, a file of deletes, and growing rows."""
    data = tmp_path_factory.mktemp("whole") / "data"
    with mishards.start(data, **SMALL) as server, connected(server.uri) as client:
        create(client, "c", "HNSW")
        insert(client, "c", range(300))
        client.flush("c")
        client.delete("c", ids=[1, 2, 3])
        client.flush("c")
        insert(client, "c", range(300, 320))
        wait_for(lambda: list(data.glob("segments/*/*/*.index")), "an index")
        wait_for(lambda: not inspected(data).orphans, "the index to be named")
    return data


@pytest.fixture
def data(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "data")
    return tmp_path / "data"


def flip(path: Path) -> None:
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 1
    path.write_bytes(held)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def only(found: Inspected) -> Finding:
    assert len(found.findings) == 1, found.findings
    return found.findings[0]


def test_a_sound_data_set(data: Path) -> None:
    before = sorted(data.rglob("*"))
    for deep in (False, True):
        found = inspected(data, deep=deep)
        assert found.sound
        assert found.findings == found.orphans == ()
        assert found.objects >= 5
        assert found.log_entries >= 3
        assert found.journal_objects >= 5
        assert (found.read_bytes > found.size_bytes) == deep
    assert sorted(data.rglob("*")) == before


OBJECTS = {
    "segments/*/*/manifest.json": Subject.SEGMENT,
    "segments/*/*/columns.arrow": Subject.SEGMENT,
    "segments/*/*/*.vectors": Subject.SEGMENT,
    "segments/*/*/*.index": Subject.INDEX,
    "segments/*/deletes/*": Subject.DELETES,
}


@pytest.mark.parametrize("pattern", OBJECTS)
@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_damage_is_found_and_named(
    data: Path, pattern: str, damage: Callable[[Path], None]
) -> None:
    path = next(data.glob(pattern))
    damage(path)
    found = only(inspected(data, deep=True))
    assert found.subject is OBJECTS[pattern]
    assert found.key == str(path.relative_to(data))
    assert found.key in found.message
    assert found.collection == "c"
    # Without reading everything, all but a changed byte is found.
    assert inspected(data).sound == (damage is flip and path.name != "manifest.json")


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_damage_of_the_log_is_found(data: Path, damage: Callable[[Path], None]) -> None:
    path = sorted((data / "log" / "0").iterdir())[-2]
    damage(path)
    found = only(inspected(data))
    assert found.subject is Subject.LOG
    assert found.key == str(path.relative_to(data))


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_damage_of_the_journal_is_found(data: Path, damage: Callable[[Path], None]) -> None:
    damage(data / entry_key(MetadataVersion(2), 0))
    assert {one.subject for one in inspected(data).findings} == {Subject.JOURNAL}


def test_a_database_that_is_not_the_journals_is_found(data: Path) -> None:
    (data / "metadata.db").unlink()
    found = only(inspected(data))
    assert found.subject is Subject.JOURNAL
    assert "is at version 0" in found.message
    assert "mishards repair" in found.message


def test_what_nothing_names_is_listed_and_no_damage(data: Path) -> None:
    folder = next(data.glob("segments/*"))
    (folder / "77").mkdir()
    (folder / "77" / "columns.arrow").write_bytes(b"12345")
    (data / "segments" / "stray").write_bytes(b"1")
    found = inspected(data, deep=True)
    assert found.sound
    assert [(one.key, one.size_bytes) for one in found.orphans] == [
        (f"segments/{folder.name}/77/columns.arrow", 5),
        ("segments/stray", 1),
    ]


def test_a_live_cluster_is_not_taken_for_a_damaged_one(tmp_path: Path) -> None:
    settings = {"writer__flush_rows": 100, "writer__build_min_rows": 50}
    with mishards.start(tmp_path / "data", **settings) as server, connected(server.uri) as client:
        create(client, "c", "HNSW")
        for number in range(12):
            insert(client, "c", range(number * 60, number * 60 + 60))
            if number == 6:
                client.create_collection("other", dimension=4)
            if number == 9:
                client.drop_collection("other")
            assert inspected(tmp_path / "data", deep=number % 2 == 0).findings == ()


def test_a_scrub_has_a_damaged_index_built_anew_and_a_damaged_segment_refused(
    data: Path,
) -> None:
    with (
        mishards.start(data, reader__quarantine_s=0.2, **SMALL) as server,
        connected(server.uri) as client,
    ):
        assert len(contents(client, "c")) == 317
        index = next(data.glob("segments/*/*/*.index"))
        vectors = next(data.glob("segments/*/*/*.vectors"))
        held = vectors.read_bytes()
        _replace(index, index.read_bytes()[:-4] + b"abcd")
        found = inspected(data, deep=True, report=True)
        assert only(found).subject is Subject.INDEX
        assert found.repairs == (f"{index.relative_to(data)}: is built anew",)
        wait_for(lambda: inspected(data, deep=True).sound, "a new index")
        _replace(vectors, held[:-4] + b"abcd")
        found = inspected(data, deep=True, report=True)
        assert only(found).subject is Subject.SEGMENT
        assert "refused by node-" in found.repairs[0]
        _replace(vectors, held)
        wait_for(lambda: inspected(data, deep=True).sound, "soundness")


def _replace(path: Path, held: bytes) -> None:
    """Give a file other contents, leaving those that have it mapped with the old ones."""
    fresh = path.with_name(".fresh")
    fresh.write_bytes(held)
    fresh.rename(path)


def test_a_rate_is_kept_to(data: Path) -> None:
    found = inspected(data, deep=True)
    began_s = time.monotonic()
    rate = found.read_bytes / 2
    asyncio.run(run_inspection(config(data), deep=True, rate_bytes_s=rate))
    assert time.monotonic() - began_s > 1.0


def test_data_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        inspected(tmp_path / "data")


def test_the_commands_exit_with_3_when_something_is_wrong(data: Path, tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["scrub", "--data", str(data), "--rate", "0"])
    assert (told.exit_code, told.output.startswith("all is well: metadata version")) == (0, True)
    flip(next(data.glob("segments/*/*/*.vectors")))
    told = CliRunner().invoke(app, ["check", "--deep", "--data", str(data), "--json"])
    assert (told.exit_code, len(json.loads(told.output)["findings"])) == (3, 1)
    with LocalCluster(tmp_path / "cluster", data=data) as cluster:
        code, said, _ = cluster.run("scrub", "--data", str(data), "--rate", "100")
    assert code == 3
    assert "1 things are wrong" in said
    assert ".vectors" in said
