"""Servers, clients and names for the tests that speak to Mishards as Milvus's clients do.

Every test runs on an embedded server; those marked `on_cluster` also on a cluster of processes.
With `MILVUS_URI` in the environment all run on that server instead, and nothing of Mishards is
imported, so they also run where only a client is installed. A server lives as long as the
session; each test has collections and databases of its own.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymilvus import DataType, MilvusClient, connections

EXTERNAL = os.environ.get("MILVUS_URI", "")
DEADLINE_S = 60.0
READERS = 2


def pytest_itemcollected(item: pytest.Item) -> None:
    # pymilvus 3.0 warns of its ORM classes, which applications use all the same.
    item.add_marker(pytest.mark.filterwarnings("ignore:.*will be removed in PyMilvus 3.1"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "uri" not in metafunc.fixturenames:
        return
    if EXTERNAL:
        kinds = ["external"]
    elif metafunc.definition.get_closest_marker("on_cluster"):
        kinds = ["embedded", "cluster"]
    else:
        kinds = ["embedded"]
    metafunc.parametrize("uri", kinds, indirect=True, scope="session")


@pytest.fixture(scope="session")
def uri(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the server under test listens."""
    if request.param == "external":
        yield EXTERNAL
    elif request.param == "embedded":
        yield from _embedded()
    else:
        with _cluster(tmp_path_factory.mktemp("cluster")) as address:
            yield address


def _embedded() -> Iterator[str]:
    import mishards

    with mishards.start() as server:
        yield server.uri


@contextmanager
def _cluster(folder: Path) -> Iterator[str]:
    """`mishards up --processes`, told to end with SIGTERM."""
    port = _free_port()
    command = [sys.executable, "-m", "mishards", "up", "--processes", "--readers", str(READERS)]
    log = folder / "cluster.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--data", str(folder / "data")],
            stdout=output,
            stderr=output,
        )
    try:
        _wait_for_port(port, process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0, log.read_text()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + DEADLINE_S
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None or time.monotonic() > end:
            pytest.fail(f"the cluster did not start:\n{log.read_text()}")
        time.sleep(0.05)


@pytest.fixture(scope="session")
def client(uri: str) -> Iterator[MilvusClient]:
    """A client of the server under test."""
    client = MilvusClient(uri)
    yield client
    client.close()


@pytest.fixture(scope="session")
def using(uri: str) -> Iterator[str]:
    """Alias of an ORM connection to the server under test."""
    alias = f"compat-{uri}"
    connections.connect(alias, uri=uri)
    yield alias
    connections.disconnect(alias)


_RUN = uuid.uuid4().hex[:8]
_numbers = itertools.count()


@pytest.fixture
def new_name(client: MilvusClient) -> Iterator[Callable[[], str]]:
    """Makes names that nothing else has; collections of these names go when the test ends."""
    made: list[str] = []

    def new() -> str:
        made.append(f"compat_{_RUN}_{next(_numbers)}")
        return made[-1]

    yield new
    for name in made:
        if client.has_collection(name):
            for alias in client.describe_collection(name)["aliases"]:
                client.drop_alias(alias)
            client.drop_collection(name)


@pytest.fixture
def name(new_name: Callable[[], str]) -> str:
    """Name of the test's collection."""
    return new_name()


@pytest.fixture
def database(client: MilvusClient, new_name: Callable[[], str]) -> Iterator[str]:
    """A database of the test's own, dropped with all that is in it."""
    name = new_name()
    client.create_database(name)
    yield name
    if name in client.list_databases():
        _drop_database(client, name)


def _drop_database(client: MilvusClient, name: str) -> None:
    client.use_database(name)
    for collection in client.list_collections():
        client.drop_collection(collection)
    client.use_database("default")
    client.drop_database(name)


def _create(
    client: MilvusClient,
    name: str,
    fields: dict[str, dict[str, Any]],
    *,
    indexes: dict[str, dict[str, Any]] | None = None,
    load: bool = True,
    **options: Any,
) -> None:
    schema = client.create_schema(enable_dynamic_field=options.pop("dynamic", False))
    for field, settings in fields.items():
        schema.add_field(field, **settings)
    options.setdefault("consistency_level", "Strong")
    client.create_collection(name, schema=schema, **options)
    vectors = [f.name for f in schema.fields if f.dtype == DataType.FLOAT_VECTOR]
    params = client.prepare_index_params()
    for field in vectors:
        chosen = (indexes or {}).get(field, {"index_type": "FLAT", "metric_type": "L2"})
        params.add_index(field, **chosen)
    # Not waited for: the client sleeps half a second before it looks at an index's state.
    client.create_index(name, params, sync=False)
    if load:
        client.load_collection(name)


@pytest.fixture
def create(client: MilvusClient, new_name: Callable[[], str]) -> Callable[..., str]:
    """Makes a collection of fields (`add_field` arguments by name), indexed and loaded.

    Reads see all writes, and vector fields have a FLAT index by L2, unless told otherwise.
    """

    def create(fields: dict[str, dict[str, Any]], **options: Any) -> str:
        name = new_name()
        _create(client, name, fields, **options)
        return name

    return create


KEY = {"datatype": DataType.INT64, "is_primary": True}
VECTOR = {"datatype": DataType.FLOAT_VECTOR, "dim": 2}
TEXTS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.fixture(scope="session")
def words(client: MilvusClient) -> Iterator[str]:
    """A loaded collection of ten rows that no test changes.

    Row i has the id i, the `word` of i, the `size` i / 2, tags ["t<i>", "all"], the dynamic key
    `even` = {"half": i / 2} where i is even, `vector` (i, 0). Rows below 5 are sealed.
    """
    name = f"compat_{_RUN}_words"
    fields = {
        "id": KEY,
        "word": {"datatype": DataType.VARCHAR, "max_length": 20},
        "size": {"datatype": DataType.DOUBLE},
        "tags": {
            "datatype": DataType.ARRAY,
            "element_type": DataType.VARCHAR,
            "max_capacity": 4,
            "max_length": 9,
        },
        "vector": VECTOR,
    }
    _create(client, name, fields, dynamic=True)
    rows = [
        {
            "id": number,
            "word": text,
            "size": number / 2,
            "tags": [f"t{number}", "all"],
            "vector": [float(number), 0.0],
            **({"even": {"half": number // 2}} if number % 2 == 0 else {}),
        }
        for number, text in enumerate(TEXTS)
    ]
    client.insert(name, rows[:5])
    client.flush(name)
    client.insert(name, rows[5:])
    yield name
    client.drop_collection(name)


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Waits until a condition holds, and fails when it does not for a minute."""

    def wait(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < end, "the condition did not come to hold"
            time.sleep(0.02)

    return wait
