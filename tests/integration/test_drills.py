"""Drills on real clusters: a sound one passes each, a weak one fails truthfully, and what a drill
made is gone afterwards."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import mishards
from mishards.cli.main import app
from mishards.core.errors import ConfigError, Unimplemented
from mishards.drill.kinds import KINDS, Order
from mishards.drill.prospect import prospect
from mishards.drill.report import Report
from mishards.drill.run import run_drill
from mishards.drill.shadow import PREFIX
from mishards.server.config import Config, load_config
from mishards.testing.client_rows import connected, contents, create, insert
from mishards.testing.local_cluster import LocalCluster, wait_for

ALL = dict.fromkeys(("I1", "I2", "I3", "I4", "I5", "I7", "I9"), True)
BRIEF = ("--seconds", "0.5", "--calm", "0.3", "--clients", "2")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Two readers, two writers and a proxy, started again when they die; with a user's rows."""
    with LocalCluster(tmp_path_factory.mktemp("sound"), "cluster.routing=rendezvous") as cluster:
        cluster.start("up", "--processes", "--readers", "2", "--writers", "2", "--drills")
        all_serve(cluster)
        with connected(cluster.uri) as client:
            create(client, "rows")
            insert(client, "rows", range(30))
        yield cluster
        with connected(cluster.uri) as client:
            assert contents(client, "rows") == dict.fromkeys(range(30), 0)


def all_serve(cluster: LocalCluster) -> None:
    def five() -> bool:
        return sum(node.ready for node in cluster.nodes().values()) == 5

    wait_for(five, "all serve", patience_s=90)


def collections(cluster: LocalCluster) -> list[str]:
    return [found.name for found in cluster.report().collections]


def config_of(data: Path) -> Config:
    return load_config(options={"cluster.data": str(data)}, environ={}).config


def brief(name: str, seconds: float = 0.5) -> Order:
    return Order(KINDS[name], seconds=seconds, calm_s=0.3, clients=2)


def drilled(cluster: LocalCluster, order: Order) -> Report:
    """The report of a drill that was consented to.

    A machine so busy that calls ran out of time makes a drill fail, as it should: then one more.
    What is lost or wrong is so at any speed.
    """
    for _ in range(2):
        all_serve(cluster)
        config = config_of(cluster.data)
        report = asyncio.run(run_drill(config, order, asyncio.run(prospect(config, order)), print))
        assert report.lost_rows == 0
        assert report.invariants | {"I7": True} == ALL, report.findings
        assert collections(cluster) == ["rows"]
        if report.passed:
            break
        print(report.wrong)
    return report


@pytest.mark.parametrize(
    "order",
    [brief("kill-writer"), brief("pause-writer", 2.0), brief("cut-storage")],
    ids=["kill-writer", "pause-writer", "cut-storage"],
)
def test_a_sound_cluster_passes(sound: LocalCluster, order: Order) -> None:
    report = drilled(sound, order)
    assert report.passed, report.wrong
    assert report.rows > 100
    assert report.back_s is not None
    assert report.reads.before.p99_ms
    assert report.writes.after.p99_ms


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_sound_cluster_passes_again_and_again(sound: LocalCluster, name: str) -> None:
    for _ in range(5):
        report = drilled(sound, Order(KINDS[name], seconds=10.0))
        assert report.passed, report.wrong


@pytest.mark.slow
@pytest.mark.parametrize("stall", [False, True])
def test_all_nodes_go_on_once_storage_is_back(sound: LocalCluster, stall: bool) -> None:
    order = brief("cut-storage", 5.0)._replace(everywhere=True, even_so=True, stall=stall)
    report = drilled(sound, order)
    assert report.passed, report.wrong
    assert report.writes.excused == report.writes.failed


def test_it_asks_for_consent_and_tells_the_verdict(sound: LocalCluster) -> None:
    all_serve(sound)
    before = set(sound.nodes())
    command = ["drill", "kill-reader", "--data", str(sound.data), *BRIEF]
    refused = CliRunner().invoke(app, command, input="yes\n")
    assert refused.exit_code == 2, refused.output
    assert "nothing was done" in refused.output
    assert set(sound.nodes()) == before
    assert collections(sound) == ["rows"]
    done = CliRunner().invoke(app, command, input=f"{sound.report().cluster}\n")
    assert done.exit_code in (0, 3), done.output
    assert ("PASSED" if done.exit_code == 0 else "FAILED") in done.output
    assert "lost rows: 0 of" in done.output
    assert before - set(sound.nodes()), "a reader was killed"
    assert collections(sound) == ["rows"]


def test_an_interrupted_drill_cleans_up(sound: LocalCluster) -> None:
    all_serve(sound)
    drill = sound.start("drill", "cut-storage", "--seconds", "50", "--calm", "0.3", "--yes")
    wait_for(lambda: "keep storage from" in drill.output(), "storage is kept away")
    assert [name for name in collections(sound) if name.startswith(PREFIX)]
    drill.interrupt()
    assert drill.wait() == 128 + signal.SIGINT
    assert "interrupted" in drill.output()
    assert collections(sound) == ["rows"]
    # No node is in a drill any more, though the cut was to last for longer.
    found = asyncio.run(
        prospect(config_of(sound.data), brief("cut-storage")._replace(everywhere=True))
    )
    assert not found.left


def test_a_weak_cluster_fails(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One reader, and nobody who starts it again."""
    settings = ("proxy.no_reader_wait_s=0.1", "cluster.drills=true")
    with LocalCluster(tmp_path_factory.mktemp("weak"), *settings) as cluster:
        cluster.start_all(readers=1)
        command = ["drill", "kill-reader", "--data", str(cluster.data), *BRIEF, "--yes", "--json"]
        refused = CliRunner().invoke(app, command)
        assert isinstance(refused.exception, ConfigError)
        assert "reader-1 is the only reader" in refused.exception.message
        failed = CliRunner().invoke(app, [*command, "--even-so", "--patience", "1"])
        assert failed.exit_code == 3, failed.output
        told = json.loads(failed.stdout)
        assert not told["passed"]
        assert told["reads"]["failed"] > 0
        assert told["reads"]["recovery_s"] is None
        assert told["back_s"] is None
        assert told["lost_rows"] == 0, "what cannot be read is not lost"
        assert any("reads failed" in why for why in told["wrong"])
        assert collections(cluster) == []


def test_a_cluster_that_takes_no_drills_says_so(tmp_path: Path) -> None:
    with (
        mishards.start(tmp_path / "data"),
        pytest.raises(Unimplemented, match=r"cluster\.drills = true"),
    ):
        asyncio.run(prospect(config_of(tmp_path / "data"), brief("kill-reader")))
