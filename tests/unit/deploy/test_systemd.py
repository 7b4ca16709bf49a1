"""The units of systemd: sound, and of commands and settings that the product knows."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from mishards.cli.main import app
from mishards.server.config import load_config

SYSTEMD = Path(__file__).resolve().parents[3] / "deploy" / "systemd"
COMMANDS = typer.main.get_group(app).commands
ROLES = ("proxy", "reader", "writer")
LEAST_GUARDED = 2.0
"""Of the scale of `systemd-analyze security`, on which 10 is a service without any limits."""


def unit(role: str) -> dict[str, str]:
    text = (SYSTEMD / f"mishards-{role}.service").read_text(encoding="utf-8")
    pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    return {key: value for key, separator, value in pairs if separator}


@pytest.mark.parametrize("role", ROLES)
def test_a_unit_runs_a_command_with_settings_of_the_product(role: str) -> None:
    found = unit(role)
    program, command, *options = found["ExecStart"].split()
    assert program == "/opt/mishards/bin/mishards"
    assert command == role
    file = "/etc/mishards/mishards.toml"
    assert file in options
    here = [str(SYSTEMD / "mishards.toml") if option == file else option for option in options]
    parsed = COMMANDS[role].make_context(role, here).params
    loaded = load_config(parsed["config"], {"node.id": parsed["id"]}, environ={}).config
    assert loaded.node.id == f"{role}-%H"
    assert found["ReadWritePaths"] == found["RequiresMountsFor"] == loaded.cluster.data
    assert float(found["TimeoutStopSec"]) > loaded.proxy.linger_s + loaded.proxy.drain_s
    if role == "reader":
        assert loaded.reader.cache_dir == f"/var/cache/{found['CacheDirectory']}"


@pytest.mark.parametrize("role", ROLES)
def test_a_unit_passes_systemds_own_check(role: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    file = tmp_path / f"mishards-{role}.service"
    text = (SYSTEMD / file.name).read_text(encoding="utf-8")
    file.write_text(text.replace("/opt/mishards/bin/mishards", sys.executable), encoding="utf-8")
    for arguments in (
        ["verify", str(file)],
        ["security", "--offline=yes", f"--threshold={LEAST_GUARDED * 10:.0f}", str(file)],
    ):
        done = subprocess.run(
            ["systemd-analyze", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert file.name not in done.stderr
