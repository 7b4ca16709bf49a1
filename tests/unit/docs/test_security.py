"""What the page on security says of the source holds: no code from data, the limits it names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mishards.core import limits, secret
from mishards.expr import ast as expr_ast
from mishards.expr import parser as expr_parser
from mishards.proxy.config import ProxyConfig
from mishards.rpc import frames, serving
from mishards.writer.config import WriterConfig

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "src" / "mishards"
PAGE = (ROOT / "docs" / "security.md").read_text()

MODULES = {
    *("pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"),
    *("yaml", "multiprocessing", "code", "codeop", "runpy"),
}
"""Those that run what they read, or whose connections do."""
CALLS = {"eval", "exec", "compile", "__import__"}
METHODS = {
    *("read_pickle", "to_pickle", "unsafe_load"),
    *("os.system", "os.popen", "torch.load", "yaml.load"),
}


def dangers(source: str) -> Iterator[str]:
    """Whatever in a module could run what came from a wire or a file."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found = [n.name for n in names if n.name.partition(".")[0] in MODULES]
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in MODULES:
                found = [module]
            case ast.Call():
                found = [*_dangerous_call(node)]
            case _:
                continue
        yield from (f"line {node.lineno}: {one}" for one in found)


def _dangerous_call(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    last = name.rpartition(".")[2]
    if name in CALLS or name in METHODS or last in METHODS:
        yield name
    for keyword in call.keywords:
        if keyword.arg in ("allow_pickle", "shell") and ast.unparse(keyword.value) != "False":
            yield f"{name}({keyword.arg}={ast.unparse(keyword.value)})"
    if name in ("np.load", "numpy.load") and not any(
        k.arg == "allow_pickle" for k in call.keywords
    ):
        yield f"{name} without allow_pickle=False"


def test_no_module_runs_what_it_reads() -> None:
    modules = {str(path.relative_to(SOURCE)): path for path in SOURCE.rglob("*.py")}
    # Nodes never import the test kit, which starts processes of its own.
    nodes = {name: path for name, path in modules.items() if not name.startswith("testing/")}
    assert len(nodes) > 250
    found = {name: list(dangers(path.read_text())) for name, path in nodes.items()}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import marshal as m",
        "from pickle import loads",
        "from multiprocessing.connection import Client",
        "eval(text)",
        "exec(text)",
        "compile(text, '', 'exec')",
        "yaml.load(text)",
        "np.load(file)",
        "np.load(file, allow_pickle=True)",
        "subprocess.run(text, shell=True)",
        "os.system(text)",
        "pd.read_pickle(file)",
    ],
)
def test_what_would_is_found(source: str) -> None:
    assert list(dangers(source))


@pytest.mark.parametrize(
    "source", ["np.load(file, allow_pickle=False)", "re.compile(text)", "expression.eval()"]
)
def test_what_would_not_is_not(source: str) -> None:
    assert not list(dangers(source))


def rows() -> dict[str, str]:
    """Of the table of limits: what is limited, and how."""
    table = PAGE.partition("## Limits")[2]
    found = re.findall(r"^\| (.+?) \| (.+?) \|", table, re.MULTILINE)
    return {what: limit.replace(",", "") for what, limit in found}


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("frame between nodes", f"{frames.MAX_FRAME_BYTES >> 20} MiB"),
        ("frame of a node that has not proved itself", f"{serving._HANDSHAKE_BYTES} bytes"),
        ("frame of a node that has not proved itself", f"{serving.HANDSHAKE_TIMEOUT_S:g} s"),
        ("request of a client", f"{ProxyConfig().max_message_bytes >> 20} MiB"),
        ("filter", f"{expr_parser.MAX_TEXT >> 20} Mi characters"),
        ("filter", f"{expr_ast.MAX_DEPTH} levels"),
        ("JSON value of a row", f"{limits.MAX_JSON_BYTES >> 10} KiB"),
        ("VARCHAR value", f"{limits.MAX_VARCHAR_BYTES} bytes"),
        ("queries of a search, and rows of each", str(limits.MAX_NQ)),
        ("queries of a search, and rows of each", str(limits.MAX_TOP_K)),
        ("answer", f"{limits.MAX_ANSWER_BYTES >> 20} MiB"),
        ("mutations that wait for the log", f"{WriterConfig().queue_max_bytes >> 20} MiB"),
        ("file of a secret", f"{secret._MOST_BYTES >> 10} KiB"),
    ],
)
def test_the_limits_on_the_page_are_those_of_the_code(what: str, value: str) -> None:
    assert value in rows()[what]
