"""A metadata database that was deleted or lost commits: refused, and made whole from storage."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from pymilvus import MilvusClient, MilvusException
from typer.testing import CliRunner

import mishards
from mishards.cli.main import app
from mishards.core.errors import DataInUse, MetadataBehind
from mishards.server.config import Config, load_config
from mishards.testing.client_rows import (
    connected,
    contents,
    create,
    insert,
    nearest,
    query_of,
    true_nearest,
)
from mishards.testing.local_cluster import LocalCluster
from mishards.upkeep.repair import Outcome, RepairReport
from mishards.upkeep.run import run_repair

SMALL = {"writer__flush_rows": 200, "writer__build_min_rows": 100}


def config(data: Path) -> Config:
    return load_config(options={"cluster.data": str(data)}, environ={}).config


def repaired(data: Path, *, force: bool = False) -> RepairReport:
    return asyncio.run(run_repair(config(data), force=force))


def fill(client: MilvusClient, name: str) -> None:
    """Sealed and growing rows, deletes and upserts of both, a partition and an alias."""
    create(client, name, "HNSW")
    client.create_alias(name, f"{name}_alias")
    client.create_partition(name, "other")
    insert(client, name, range(500))
    client.flush(name)
    client.delete(name, ids=list(range(100, 200)))
    client.upsert(name, [{**row, "generation": 7} for row in _rows(client, name, range(50))])
    insert(client, name, range(500, 550))


def _rows(client: MilvusClient, name: str, keys: range) -> list[dict[str, object]]:
    found: list[dict[str, object]] = client.get(name, list(keys), output_fields=["*"])
    return found


EXPECTED = {key: 7 if key < 50 else 0 for key in [*range(100), *range(200, 550)]}


def assert_whole(uri: str, *names: str) -> None:
    with connected(uri) as client:
        assert sorted(client.list_collections()) == sorted(names)
        for name in names:
            assert contents(client, name) == EXPECTED
            assert client.describe_alias(f"{name}_alias")["collection_name"] == name
            assert set(client.list_partitions(name)) == {"_default", "other"}
            query = query_of(3)
            assert nearest(client, name, query, 5) == true_nearest(list(EXPECTED), query, 5)


def delete_database(data: Path) -> None:
    for path in data.glob("metadata.db*"):
        path.unlink()


def test_a_deleted_database_is_rebuilt_and_no_row_is_lost(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with mishards.start(data, **SMALL) as server, connected(server.uri) as client:
        fill(client, "a")
        fill(client, "b")
        client.create_collection("gone", dimension=4)
        client.drop_collection("gone")
    delete_database(data)
    with pytest.raises(MetadataBehind, match=r"at version 0; shared storage .*mishards repair"):
        mishards.start(data)
    report = repaired(data)
    assert report.outcome is Outcome.DATABASE
    assert report.holdings.collections == 2
    assert report.holdings.segments >= 2
    with mishards.start(data, **SMALL) as server:
        assert_whole(server.uri, "a", "b")
        with connected(server.uri) as client:
            insert(client, "a", range(900, 910))
            client.drop_alias("b_alias")
            client.drop_collection("b")
    assert repaired(data).outcome is Outcome.NOTHING


def test_an_older_database_is_refused_until_it_is_repaired(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with mishards.start(data, **SMALL) as server, connected(server.uri) as client:
        create(client, "a")
        client.drop_collection("a")
    shutil.copy(data / "metadata.db", tmp_path / "older.db")
    with mishards.start(data, **SMALL) as server, connected(server.uri) as client:
        fill(client, "a")
    delete_database(data)
    shutil.copy(tmp_path / "older.db", data / "metadata.db")
    with pytest.raises(MetadataBehind, match="mishards repair"):
        mishards.start(data)
    assert repaired(data).outcome is Outcome.DATABASE
    with mishards.start(data, **SMALL) as server:
        assert_whole(server.uri, "a")


def test_a_running_server_notices_that_its_database_went_back(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with mishards.start(data, **SMALL) as server, connected(server.uri) as client:
        create(client, "early")
        client.drop_collection("early")
        _copy_database(data / "metadata.db", tmp_path / "older.db")
        fill(client, "a")
        client.flush("a")
        _copy_database(tmp_path / "older.db", data / "metadata.db")
        with pytest.raises(MilvusException, match=r"went back .*mishards repair"):
            client.create_collection("b", dimension=4)
        assert contents(client, "a") == EXPECTED
        with pytest.raises(DataInUse, match=r"stop all writers"):
            repaired(data)
        assert repaired(data, force=True).outcome is Outcome.DATABASE
        fill(client, "b")
        assert_whole(server.uri, "a", "b")


def _copy_database(source: Path, target: Path) -> None:
    """In one transaction, as a running server needs it."""
    with sqlite3.connect(source) as one, sqlite3.connect(target) as other:
        one.backup(other)
    one.close()
    other.close()


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with mishards.start(data, **SMALL) as server, connected(server.uri) as client:
        fill(client, "a")
        refused = CliRunner().invoke(app, ["repair", "--data", str(data)])
        assert isinstance(refused.exception, DataInUse)
        assert "in use by process" in refused.exception.message
    delete_database(data)
    refused = CliRunner().invoke(app, ["status", "--data", str(data)])
    assert isinstance(refused.exception, MetadataBehind)
    told = CliRunner().invoke(app, ["repair", "--data", str(data), "--dry-run", "--json"])
    report = json.loads(told.output)
    assert report["dry_run"]
    with LocalCluster(tmp_path / "cluster", data=data) as cluster:
        code, said, errors = cluster.run("repair", "--data", str(data))
    assert code == 0, errors
    assert "database rebuilt from the journal: the database misses" in said
    assert "rows in segments" in said
    told = CliRunner().invoke(app, ["repair", "--data", str(data), "--json"])
    assert json.loads(told.output)["outcome"] == "nothing"
    assert json.loads(told.output)["version"] == report["version"]
    with mishards.start(data, **SMALL) as server:
        assert_whole(server.uri, "a")
