"""The example of a registry of one's own, installed, is found by its name and passes its tests."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "discovery-provider"

_spec = importlib.util.spec_from_file_location(
    "example_registry_tests", EXAMPLE / "tests" / "test_contract.py"
)
assert _spec is not None
assert _spec.loader is not None
_its_tests = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_its_tests)

TestFolderRegistry = _its_tests.TestFolderRegistry
test_a_url_without_a_folder_is_refused = _its_tests.test_a_url_without_a_folder_is_refused


@pytest.fixture(scope="module", autouse=True)
def _installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The package where pip would put it: its modules, and metadata with its entry points."""
    site = tmp_path_factory.mktemp("site")
    pyproject = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())
    project = pyproject["project"]
    names = []
    for package in pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        names.append(Path(package).name)
        shutil.copytree(EXAMPLE / package, site / names[-1])
    told = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    told.mkdir()
    (told / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in points.items())]
    (told / "entry_points.txt").write_text("\n".join(lines) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        yield
    for name in names:
        sys.modules.pop(name, None)


def test_it_is_loaded_by_its_entry_point() -> None:
    from importlib.metadata import entry_points

    (point,) = entry_points(group="mishards.discovery", name="folder")
    assert point.load().__module__ == "mishards_folder"
