"""The same tests with an older client: pymilvus 2.6, in an environment of its own.

The environment is made under `.cache` at the first run and kept; where its packages cannot be
fetched the test says so by skipping, but for CI, where it fails. A client of 2.6 needs nothing of
Mishards installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("pymilvus==2.6.*", "numpy>=2", "pandas", "pytest>=9", "pytest-timeout>=2.4")
ENVIRONMENT = ROOT / ".cache" / "pymilvus-2.6"
NOT_OF_THE_CLIENT = "not every_family"
"""What an older client cannot change is not tried again."""
MADE = ENVIRONMENT / ".ready"


def interpreter() -> str:
    """The environment's interpreter; makes the environment when it is missing or outdated."""
    python = ENVIRONMENT / "bin" / "python"
    wanted = "\n".join((sys.version, *PACKAGES))
    if not MADE.exists() or MADE.read_text() != wanted:
        made = [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)]
        subprocess.run(made, check=True, capture_output=True)
        install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        done = subprocess.run([*install, *PACKAGES], capture_output=True, text=True, check=False)
        if done.returncode:
            missing = f"pymilvus 2.6 cannot be installed here: {done.stderr[-500:]}"
            if "CI" in os.environ:
                pytest.fail(missing)
            pytest.skip(missing)
        MADE.write_text(wanted)
    return str(python)


@pytest.mark.timeout(300)
@pytest.mark.skipif("MILVUS_URI" in os.environ, reason="only against a server of our own")
def test_the_suite_passes_with_pymilvus_2_6(uri: str) -> None:
    here = str(Path(__file__).parent)
    # The options of the whole suite are those of an environment that has Mishards.
    command = [interpreter(), "-m", "pytest", here, f"--confcutdir={here}"]
    options = ["-p", "no:cacheprovider", "-k", NOT_OF_THE_CLIENT, "--tb=short", "--show-capture=no"]
    done = subprocess.run(
        [*command, *options],
        cwd=ROOT,
        env={**os.environ, "MILVUS_URI": uri},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
