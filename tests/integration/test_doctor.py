"""`mishards doctor` and `top` on a real cluster: nothing is said while it is healthy, and what is
wrong is named."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mishards.core.ids import NodeId
from mishards.core.runtime import SystemRuntime
from mishards.discovery.protocol import NodeInfo
from mishards.discovery.registry import open_registry
from mishards.doctor.findings import Diagnosis, Level
from mishards.doctor.run import examine
from mishards.server.config import load_config
from mishards.testing.certificates import Authority
from mishards.testing.client_rows import connected, create, insert, nearest, query_of
from mishards.testing.disk import no_space
from mishards.testing.faulty_cluster import FaultyCluster
from mishards.testing.local_cluster import LocalCluster, free_port, wait_for

_LEAVES_SCREEN = b"\x1b[?1049l"
BAD = (Level.WARNING, Level.FAILURE)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyCluster]:
    """A writer, two readers and a proxy, with a collection of two replicas; tests heal what they
    do to it."""
    folder = tmp_path_factory.mktemp("served")
    with FaultyCluster(folder, "http.enabled=true", "http.port=0") as cluster:
        cluster.add_all()
        with connected(cluster.uri) as client:
            create(client, "c", "HNSW")
            insert(client, "c", range(200))
            client.flush("c")
            client.release_collection("c")
            client.load_collection("c", replica_number=2)
        wait_for(
            lambda: cluster.serving("c") == [{"reader-1", "reader-2"}], "both have the segment open"
        )
        yield cluster


async def look(options: dict[str, str], limit_s: float = 60.0) -> Diagnosis:
    loaded = load_config(options=options, environ={})
    diagnosis, left_behind = await examine(loaded, limit_s=limit_s)
    assert not left_behind
    return diagnosis


def diagnosed(data: Path, **options: str) -> Diagnosis:
    """What the doctor finds, asked in this process."""
    settings = {key.replace("__", "."): value for key, value in options.items()}
    return asyncio.run(look({"cluster.data": str(data), **settings}))


def wrong(found: Diagnosis) -> dict[str, str]:
    """What is worse than a note, by check."""
    return {finding.check: finding.seen for finding in found.of(*BAD)}


def well(found: Diagnosis) -> dict[str, str]:
    return {finding.check: finding.seen for finding in found.of(Level.OK)}


def wait_until_well(cluster: FaultyCluster) -> None:
    wait_for(lambda: not wrong(diagnosed(cluster.data)), "the doctor finds nothing")


def test_nothing_is_said_of_a_healthy_cluster(served: FaultyCluster) -> None:
    code, output, errors = served.run(
        "doctor", "--json", "--limit", "60", "--data", str(served.data)
    )
    assert output, errors
    findings = json.loads(output)["findings"]
    assert [f for f in findings if f["level"] in ("warning", "failure")] == []
    assert code == 0
    told = {f["check"]: f["seen"] for f in findings if f["level"] == "ok"}
    assert "writer-1 leads log 0" in told["election.leader"]
    assert "names 4 nodes" in told["discovery.registry"]
    assert told["collections.served"]
    assert told["ports.reached"]


def test_a_reader_that_stands_still_is_named_and_what_lacks_its_replica(
    served: FaultyCluster,
) -> None:
    served.freeze("reader-2")
    try:
        found = wrong(asyncio.run(look({"cluster.data": str(served.data)}, limit_s=10.0)))
    finally:
        served.heal()
    assert "reader-2" in found.pop("discovery.answers")
    assert "'c' is to have 2 replicas, and 1 readers serve" in found.pop("collections.replicas")
    assert found == {}
    wait_until_well(served)


def test_a_clock_that_is_wrong_is_named(served: FaultyCluster) -> None:
    def skewed() -> dict[str, str]:
        found = wrong(diagnosed(served.data))
        return found if "clock.nodes" in found else {}

    served.faults("reader-1").set(clock_offset_ms=3_600_000)
    try:
        found = wait_for(skewed, "the reader's clock is seen to be wrong")
    finally:
        served.faults("reader-1").set(clock_offset_ms=0)
    assert "the clock of reader-1 is 60 min ahead" in found["clock.nodes"]
    wait_until_well(served)


def test_a_stale_entry_is_named(served: FaultyCluster) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    ghost = NodeInfo(id=NodeId("ghost"), roles=("reader",), address=address, pid=1)

    async def haunted() -> Diagnosis:
        runtime = SystemRuntime(threads=1)
        registry = open_registry(f"sqlite:///{served.data / 'metadata.db'}", runtime)

        async def beat() -> None:
            while True:
                await registry.announce(ghost)
                await asyncio.sleep(0.2)

        beating = asyncio.create_task(beat())
        try:
            return await look({"cluster.data": str(served.data)})
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
            await registry.withdraw(ghost.id)
            await registry.close()
            await runtime.close()

    found = wrong(asyncio.run(haunted()))
    assert found.pop("discovery.answers").startswith("stale entry: reader ghost")
    assert found == {}


def test_a_database_that_is_away_hides_nothing_else(served: FaultyCluster) -> None:
    known = f"sqlite:///{served.data / 'metadata.db'}"
    away = f"mysql://nobody@127.0.0.1:{free_port()}/mishards"
    found = diagnosed(
        served.data, cluster__metadata=away, cluster__discovery=known, cluster__election=known
    )
    assert set(wrong(found)) == {"database.reached"}
    assert {"storage.fit", "discovery.answers", "discovery.roles"} <= set(well(found))


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """Something mounted; where that is not allowed the test is skipped."""
    folder.mkdir()
    try:
        done = subprocess.run(
            ["mount", *options, str(folder)], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode != 0:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_storage_that_is_read_only_is_named(served: FaultyCluster, tmp_path: Path) -> None:
    known = f"sqlite:///{served.data / 'metadata.db'}"
    with mounted(tmp_path / "ro", "--bind", str(served.data)) as folder:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        found = diagnosed(folder, cluster__metadata=known)
    assert "Read-only file system" in wrong(found).pop("storage.fit")
    assert set(wrong(found)) == {"storage.fit"}


def test_storage_that_is_full_is_named(served: FaultyCluster, tmp_path: Path) -> None:
    known = f"sqlite:///{served.data / 'metadata.db'}"
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=16m", "tmpfs") as folder:
        shutil.copy(served.data / "identity.json", folder)
        with no_space(folder):
            found = wrong(diagnosed(folder, cluster__metadata=known))
    assert "is full" in found["storage.space"]


def test_a_certificate_that_expired_while_its_node_ran_is_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ours")
    files = authority.issue()
    tls = (
        f"cluster.tls_certificate={files.certificate}",
        f"cluster.tls_key={files.key}",
        f"cluster.tls_ca={files.ca}",
    )
    with LocalCluster(tmp_path / "cluster", *tls) as cluster:
        cluster.start("up").wait_ready()
        settings = dict(setting.replace(".", "__", 1).split("=", 1) for setting in tls)
        assert wrong(diagnosed(cluster.data, **settings)) == {}
        now = datetime.now(UTC)
        authority.issue(not_before=now - timedelta(days=9), not_after=now - timedelta(days=1))
        found = wrong(diagnosed(cluster.data, **settings))
    assert set(found) == {"certificates.usable", "discovery.answers"}
    assert "no node was asked" in found["discovery.answers"]
    assert "certificate has expired" in found["certificates.usable"]
    assert files.certificate in found["certificates.usable"]


def test_without_a_cluster_it_says_so_and_makes_none(tmp_path: Path) -> None:
    found = diagnosed(tmp_path / "none")
    assert {"storage.reached", "database.reached"} <= set(wrong(found))
    assert not (tmp_path / "none").exists()


def test_top_prints_one_frame_of_all_nodes(served: FaultyCluster) -> None:
    with connected(served.uri) as client:
        nearest(client, "c", query_of(1))
    code, output, errors = served.run(
        "top", "--once", "--interval", "0.5", "--data", str(served.data)
    )
    assert code == 0, errors
    lines = output.splitlines()
    assert "4 of 4 nodes ready" in lines[0]
    assert "leaders 0: writer-1" in lines[0]
    rows = {line.split()[0]: line for line in lines if line.strip()}
    for name, role in (
        ("proxy-1", "proxy"),
        ("writer-1", "writer *0"),
        ("reader-1", "reader"),
        ("reader-2", "reader"),
    ):
        assert role in rows[name]
        assert " ready " in rows[name]
        assert "MiB" in rows[name]
        assert " %" in rows[name]
    assert rows["c"].split()[1:5] == ["default", "yes", "200", "0"]


def test_top_draws_on_a_terminal_until_q_is_pressed(served: FaultyCluster) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 80, 0, 0))
    before = termios.tcgetattr(theirs)
    command = [sys.executable, "-m", "mishards", "top", "--interval", "0.2"]
    environ = os.environ | {"TERM": "xterm", "TMPDIR": str(served.temp)}
    environ = {key: value for key, value in environ.items() if key not in ("COLUMNS", "LINES")}
    shown = b""

    def reads(words: bytes) -> bool:
        nonlocal shown
        if select.select([ours], [], [], 0)[0]:
            shown += os.read(ours, 65536)
        return words in shown

    with subprocess.Popen(
        [*command, "--data", str(served.data)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environ,
    ) as process:
        try:
            wait_for(lambda: reads(b"4 of 4 nodes ready"), "a frame is drawn")
            os.write(ours, b"q")
            # What it draws has to be read, or it waits for the terminal.
            wait_for(lambda: reads(_LEAVES_SCREEN) and process.poll() is not None, "it has ended")
        finally:
            process.kill()
    assert process.returncode == 0
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)
