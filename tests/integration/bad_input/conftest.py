"""One embedded server, collections that refused calls must leave alone, and ways to be refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from pymilvus import DataType, MilvusClient, MilvusException
from pymilvus.client.prepare import Prepare
from pymilvus.grpc_gen import milvus_pb2_grpc

import mishards
from mishards.testing.client_rows import count

ROWS = 5
ALL = "all_types"
AUTO = "auto_ids"
BARE = "without_index"
COLD = "not_loaded"


def good_row(key: int) -> dict[str, Any]:
    """A row of `ALL`."""
    return {
        "id": key,
        "vector": [float(key), 0.0, 1.0, 2.0],
        "flag": True,
        "i8": 1,
        "i16": 2,
        "i32": 3,
        "i64": 4,
        "f": 0.5,
        "d": 0.25,
        "text": "é" * 4,
        "note": None,
        "doc": {"a": [1, "x"]},
        "tags": ["a", "b"],
        "nums": [1, 2],
        "extra": 7,
    }


def _create(client: MilvusClient, name: str, fields: dict[str, Any], **options: Any) -> None:
    schema = client.create_schema(enable_dynamic_field=options.get("dynamic", False))
    for field, settings in fields.items():
        schema.add_field(field, **settings)
    client.create_collection(name, schema=schema, consistency_level="Strong")
    if options.get("index", True):
        params = client.prepare_index_params()
        params.add_index("vector", index_type="HNSW", metric_type="L2")
        client.create_index(name, params, sync=False)
    if options.get("load", True):
        client.load_collection(name)


KEY = {"datatype": DataType.INT64, "is_primary": True}
VECTOR = {"datatype": DataType.FLOAT_VECTOR, "dim": 4}


def _fill(client: MilvusClient) -> None:
    texts = {"datatype": DataType.VARCHAR, "max_length": 8}
    array = {"datatype": DataType.ARRAY, "max_capacity": 3}
    fields = {
        "id": KEY,
        "vector": VECTOR,
        "flag": {"datatype": DataType.BOOL},
        "i8": {"datatype": DataType.INT8},
        "i16": {"datatype": DataType.INT16},
        "i32": {"datatype": DataType.INT32},
        "i64": {"datatype": DataType.INT64},
        "f": {"datatype": DataType.FLOAT},
        "d": {"datatype": DataType.DOUBLE},
        "text": texts,
        "note": {**texts, "nullable": True},
        "doc": {"datatype": DataType.JSON},
        "tags": {**array, "element_type": DataType.VARCHAR, "max_length": 4},
        "nums": {**array, "element_type": DataType.INT8},
    }
    _create(client, ALL, fields, dynamic=True)
    _create(client, AUTO, {"id": {**KEY, "auto_id": True}, "vector": VECTOR})
    _create(client, BARE, {"id": KEY, "vector": VECTOR}, index=False, load=False)
    _create(client, COLD, {"id": KEY, "vector": VECTOR}, load=False)
    client.create_partition(ALL, "part")
    client.create_alias(ALL, "nickname")
    client.insert(ALL, [good_row(key) for key in range(ROWS)])


@pytest.fixture(scope="session")
def uri() -> Iterator[str]:
    with mishards.start() as server:
        yield server.uri


@pytest.fixture(scope="session")
def client(uri: str) -> Iterator[MilvusClient]:
    client = MilvusClient(uri)
    _fill(client)
    yield client
    client.close()


@pytest.fixture(scope="session")
def stub(uri: str, client: MilvusClient) -> Iterator[Any]:
    """The service without pymilvus's own checks."""
    with grpc.insecure_channel(uri.removeprefix("http://")) as channel:
        yield milvus_pb2_grpc.MilvusServiceStub(channel)


@pytest.fixture(scope="session")
def request_of(client: MilvusClient) -> Callable[..., Any]:
    """Makes an `InsertRequest` or `UpsertRequest` of rows as pymilvus does."""
    described = client.describe_collection(ALL)

    def make(rows: list[dict[str, Any]], *, upsert: bool = False) -> Any:
        kind = Prepare.row_upsert_param if upsert else Prepare.row_insert_param
        return kind(
            ALL,
            rows,
            "",
            fields_info=described["fields"],
            enable_dynamic=True,
            schema_timestamp=described["update_timestamp"],
        )

    return make


@pytest.fixture
def good_rows() -> list[dict[str, Any]]:
    """A row whose id is known already, and a new one."""
    return [good_row(3), good_row(100)]


def _definitions(client: MilvusClient) -> dict[str, Any]:
    """All that definitions are about."""
    found: dict[str, Any] = {"databases": sorted(client.list_databases())}
    for name in sorted(client.list_collections()):
        found[name] = (
            client.describe_collection(name),
            sorted(client.list_partitions(name)),
            sorted(client.list_indexes(name)),
            str(client.get_load_state(name)),
        )
    return found


@pytest.fixture
def unharmed(client: MilvusClient) -> Iterator[None]:
    """Rows and definitions are the same after the test, and the server answers."""
    before = _definitions(client)
    yield
    assert _definitions(client) == before
    assert (count(client, ALL), count(client, AUTO)) == (ROWS, 0)
    hits = client.search(ALL, [[3.0, 0.0, 1.0, 2.0]], limit=1)
    assert hits[0][0]["id"] == 3


@pytest.fixture
def refused() -> Callable[..., None]:
    """Calls what must be refused with a code and words."""

    def check(call: Callable[[], Any], code: int, *said: str) -> None:
        with pytest.raises(MilvusException) as caught:
            call()
        assert (caught.value.code, said_all(caught.value.message, said)) == (code, ""), caught.value

    return check


def said_all(message: str, wanted: tuple[str, ...]) -> str:
    """What of `wanted` is not in the message; empty when nothing is missing."""
    return ", ".join(word for word in wanted if word not in message)
