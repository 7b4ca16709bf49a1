"""Configuration: precedence, origins, and what is refused."""

import msgspec
import pytest

from mishards.core.config import load
from mishards.core.errors import ConfigError


class Inner(msgspec.Struct, frozen=True, kw_only=True):
    port: int = 1
    rate: float = 0.5
    name: str = "a"
    nodes: tuple[str, ...] = ()
    on: bool = False


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    web: Inner = Inner()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('[web]\nport = 2\nname = "file"\nnodes = ["x", "y"]\n')
    return path


def test_the_stronger_source_wins_and_is_remembered(file):
    environ = {"MISHARDS_WEB_PORT": "3", "MISHARDS_WEB_RATE": "2.5", "HOME": "/"}
    loaded = load(Whole, file=file, environ=environ, options={"web.port": 4, "web.on": None})
    assert loaded.config.web == Inner(port=4, rate=2.5, name="file", nodes=("x", "y"))
    assert loaded.origins["web.port"] == "command line"
    assert loaded.origins["web.rate"] == "environment"
    assert loaded.origins["web.name"] == f"file {file}"
    assert loaded.origins["web.on"] == "default"


def test_lists_and_switches_are_read_from_text():
    environ = {"MISHARDS_WEB_NODES": "a, b", "MISHARDS_WEB_ON": "true"}
    assert load(Whole, environ=environ).config.web == Inner(nodes=("a", "b"), on=True)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"web.prot": 1}, "did you mean 'web.port'"),
        ({"zzz": 1}, "zzz"),
        ({"web.port": "many"}, "web.port = 'many' (command line)"),
    ],
)
def test_what_cannot_be_used_is_named(options, part):
    with pytest.raises(ConfigError) as caught:
        load(Whole, options=options)
    assert part in caught.value.message


def test_variables_of_the_test_suite_mean_nothing_here():
    environ = {"MISHARDS_TEST_CONSUL": "consul://127.0.0.1", "MISHARDS_TEST_": "x"}
    assert load(Whole, environ=environ).config == Whole()
    with pytest.raises(ConfigError, match="MISHARDS_TESTED"):
        load(Whole, environ={"MISHARDS_TESTED": "x"})


def test_an_unknown_variable_or_table_stops_the_start(tmp_path):
    with pytest.raises(ConfigError, match="MISHARDS_WEB_PORT"):
        load(Whole, environ={"MISHARDS_WEB_PROT": "1"})
    path = tmp_path / "c.toml"
    path.write_text("[wep]\nport = 1\n")
    with pytest.raises(ConfigError, match="did you mean 'web'"):
        load(Whole, file=path)


def test_a_file_that_is_missing_or_broken_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        load(Whole, file=tmp_path / "nowhere.toml")
    path = tmp_path / "broken.toml"
    path.write_text("web = = 3")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(Whole, file=path)
