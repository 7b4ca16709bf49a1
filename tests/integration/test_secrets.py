"""Recognisable secrets are given to real nodes and commands, errors provoked, all output read."""

from __future__ import annotations

import json
import logging
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mishards.cli.main import main
from mishards.testing.local_cluster import LocalCluster, free_port, wait_for

WORD = "Tr0ub4dor-secret"
PASSWORD = "c0rrect-p4ssword"
TOKEN = "b4ttery-t0ken"
TELLTALE = (WORD, PASSWORD, TOKEN)


def clean(text: str) -> bool:
    return not any(word in text for word in TELLTALE)


@pytest.fixture
def word(tmp_path: Path) -> Path:
    file = tmp_path / "word"
    file.touch(mode=0o600)
    file.write_text(f"{WORD}\n")
    return file


def test_a_node_and_its_commands_show_no_secret(
    word: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISHARDS_CLUSTER_SECRET_FILE", str(word))
    with LocalCluster(tmp_path / "c", "cluster.log_level=debug") as cluster:
        node = cluster.start("up").wait_ready()
        code, shown, said = cluster.run("status", "--json", "--data", str(cluster.data))
        assert code == 0
        assert '"answers": true' in shown  # it has the secret
        assert clean(shown + said)

        address = json.loads(shown)["nodes"][0]["address"].removeprefix("tcp://")
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port))) as rude:
            rude.sendall(bytes(13))
            wait_for(lambda: not rude.recv(65_536), "it hangs up")
        listing = Path(f"/proc/{node.pid}/cmdline").read_bytes().decode()
        assert node.stop() == 0
        assert clean(node.output() + listing)


@pytest.fixture
def quiet() -> Iterator[None]:
    """The command sets up the log of the process: what was there comes back."""
    root, hook = logging.getLogger(), sys.excepthook
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    sys.excepthook = hook
    assert logging.lastResort is not None
    logging.lastResort.setFormatter(None)


@pytest.mark.parametrize(
    "settings",
    [
        ("cluster.metadata=postgresql://me:{password}@127.0.0.1:{port}/db",),
        ("cluster.metadata=mysql://me:{password}@127.0.0.1:{port}/db",),
        ("cluster.metadata=etcd://me:{password}@127.0.0.1:{port}/p",),
        ("cluster.metadata=etcd://me:{password}@127.0.0.1:many/p",),
        ("cluster.metadata=mysql://me:{password}@127.0.0.1:many/db",),
        ("cluster.metadata=oracle://me:{password}@127.0.0.1/db",),
        ("cluster.metadata=me:{password}@127.0.0.1/db",),
        ("cluster.discovery=etcd://me:{password}@127.0.0.1:{port}/p",),
        ("cluster.discovery=mysql://me:{password}@127.0.0.1:{port}/db",),
        ("cluster.discovery=zookeeper://me:{password}@127.0.0.1:many/p",),
        ("cluster.discovery=consul://me:{password}@127.0.0.1/p",),
        ("cluster.discovery=kubernetes://me:{password}@namespace?api_token={token}",),
        ("cluster.discovery=me:{password}@127.0.0.1/p",),
        ("cluster.discovery=carrier://pigeon?token={token}",),
        ("cluster.election=mysql://me:{password}@127.0.0.1:many/db?ssl_token={token}",),
        ("cluster.election=carrier://me:{password}@pigeon",),
        ("cluster.data=s3://me:{password}@bucket",),
        ("cluster.data=carrier://me:{password}@pigeon", "cluster.metadata=memory://m"),
        ("cluster.secret:{word}",),
        ("cluster.secret={word}", "cluster.secret_file=/no/such/file"),
        ("http.token={word}", "http.metrics_token={token}", "http.port=70000"),
        ("http.token={word} and more",),
    ],
)
@pytest.mark.parametrize("command", ["writer", "show"])
def test_errors_show_no_secret(
    command: str,
    settings: tuple[str, ...],
    tmp_path: Path,
    quiet: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    words = [] if command == "writer" else ["config"]
    words += [command, "--data", str(tmp_path / "data"), "--set", "cluster.log_level=debug"]
    for setting in settings:
        filled = setting.format(password=PASSWORD, token=TOKEN, word=WORD, port=free_port())
        words += ["--set", filled]
    monkeypatch.setattr(sys, "argv", ["mishards", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capfd.readouterr()
    assert clean(out + err), out + err
    assert out if ended.value.code in (0, None) else "mishards: " in err
    assert "Traceback" not in err
    if command == "writer":
        assert ended.value.code == 1
