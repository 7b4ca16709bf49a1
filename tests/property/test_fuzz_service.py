"""Whatever bytes, messages and texts clients send: a status of the right kind, and a server that
goes on serving. An internal error, a crash or a hang is a failure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymilvus import DataType, MilvusClient
from pymilvus.client.prepare import Prepare
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

import mishards
from mishards.api.milvus.status import status_field

SERVICE = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"]
METHODS = [m.name for m in SERVICE.methods if not (m.client_streaming or m.server_streaming)]
TIMEOUT_S = 20.0
INTERNAL = 5
QUIET = settings(suppress_health_check=[HealthCheck.too_slow])


class Service(NamedTuple):
    """A server with one loaded collection `c`, called with bytes."""

    channel: grpc.Channel
    client: MilvusClient

    def call(self, method: str, payload: bytes) -> Any:
        """The answer, parsed; None where the call ended with a gRPC status of its own."""
        found = SERVICE.methods_by_name[method]
        invoke = self.channel.unary_unary(f"/{SERVICE.full_name}/{method}")
        try:
            data = invoke(payload, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.UNIMPLEMENTED, error
            return None
        return GetMessageClass(found.output_type).FromString(data)

    def tried(self, method: str, payload: bytes) -> int:
        """The code of the answer, which is no internal error."""
        answer = self.call(method, payload)
        if answer is None:
            return 0
        name = status_field(type(answer))
        if name is None:
            return 0
        status = answer if name == "" else getattr(answer, name)
        assert status.code != INTERNAL, f"{method}: {status}"
        assert status.code == 0 or status.reason
        return int(status.code)

    def is_alive(self) -> None:
        hits = self.client.search("kept", [[1.0, 0.0]], limit=1, consistency_level="Strong")
        assert [hit["id"] for hit in hits[0]] == [1]


def _create(client: MilvusClient, name: str) -> None:
    schema = client.create_schema(enable_dynamic_field=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=2)
    schema.add_field("text", DataType.VARCHAR, max_length=9, nullable=True)
    schema.add_field("doc", DataType.JSON, nullable=True)
    schema.add_field(
        "tags", DataType.ARRAY, element_type=DataType.INT16, max_capacity=3, nullable=True
    )
    client.create_collection(name, schema=schema)
    params = client.prepare_index_params()
    params.add_index("v", index_type="HNSW", metric_type="L2")
    client.create_index(name, params, sync=False)
    client.load_collection(name)
    client.insert(name, [row(1), row(2)])


def row(key: int) -> dict[str, Any]:
    return {"id": key, "v": [key, 0.0], "text": "t", "doc": {"a": [1]}, "tags": [1, 2], "more": 1}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with mishards.start() as server, grpc.insecure_channel(server.uri[7:]) as channel:
        client = MilvusClient(server.uri)
        for name in ("c", "kept"):
            _create(client, name)
        yield Service(channel, client)
        client.close()


@pytest.fixture(autouse=True)
def goes_on(service: Service) -> Iterator[None]:
    yield
    service.is_alive()


def _corpus() -> dict[str, Any]:
    """A good request of each method worth damaging."""
    schema = MilvusClient.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=2)
    schema.add_field("n", DataType.INT8, default_value=3)
    names = {"collection_name": "c"}
    placeholders = common_pb2.PlaceholderGroup()
    vector = np.ones(2, np.float32).tobytes()
    placeholders.placeholders.add(tag="$0", type=common_pb2.FloatVector, values=[vector])
    search = milvus_pb2.SearchRequest(
        **names,
        dsl="id in [1, 2] and doc['a'][0] == {x}",
        placeholder_group=placeholders.SerializeToString(),
        output_fields=["text", "more"],
        nq=1,
    )
    search.expr_template_values["x"].int64_val = 1
    for key, value in {"anns_field": "v", "topk": "3", "params": '{"ef": 20}'}.items():
        search.search_params.add(key=key, value=value)
    query = milvus_pb2.QueryRequest(**names, expr="id > {x}", output_fields=["*"])
    query.query_params.add(key="limit", value="3")
    query.expr_template_values["x"].int64_val = 0
    index = milvus_pb2.CreateIndexRequest(**names, field_name="v", index_name="v")
    index.extra_params.add(key="params", value='{"M": 8}')
    index.extra_params.add(key="index_type", value="HNSW")
    fields = [
        {"name": "id", "type": DataType.INT64, "is_primary": True, "params": {}},
        {"name": "v", "type": DataType.FLOAT_VECTOR, "params": {"dim": 2}},
        {"name": "text", "type": DataType.VARCHAR, "params": {"max_length": 9}, "nullable": True},
        {"name": "doc", "type": DataType.JSON, "params": {}, "nullable": True},
        {
            "name": "tags",
            "type": DataType.ARRAY,
            "element_type": DataType.INT16,
            "params": {"max_capacity": 3},
            "nullable": True,
        },
    ]
    rows = [row(5), row(6)]
    insert = Prepare.row_insert_param("c", rows, "", fields_info=fields, enable_dynamic=True)
    upsert = Prepare.row_upsert_param("c", rows, "", fields_info=fields, enable_dynamic=True)
    return {
        "Insert": insert,
        "Upsert": upsert,
        "Delete": milvus_pb2.DeleteRequest(**names, expr="id in [77, 78]"),
        "Search": search,
        "Query": query,
        "CreateCollection": Prepare.create_collection_request("made", schema),
        "CreateIndex": index,
        "AlterCollection": Prepare.alter_collection_request("c", {"collection.ttl.seconds": "9"}),
        "DescribeCollection": milvus_pb2.DescribeCollectionRequest(**names),
        "ShowCollections": milvus_pb2.ShowCollectionsRequest(collection_names=["c"]),
        "CreatePartition": milvus_pb2.CreatePartitionRequest(**names, partition_name="p"),
        "LoadCollection": milvus_pb2.LoadCollectionRequest(**names, replica_number=1),
        "GetLoadState": milvus_pb2.GetLoadStateRequest(**names, partition_names=["_default"]),
        "CreateAlias": milvus_pb2.CreateAliasRequest(**names, alias="a"),
        "Flush": milvus_pb2.FlushRequest(collection_names=["c"]),
        "GetFlushState": milvus_pb2.GetFlushStateRequest(**names, segmentIDs=[1]),
        "GetReplicas": milvus_pb2.GetReplicasRequest(collectionID=1, **names),
        "Connect": milvus_pb2.ConnectRequest(),
    }


CORPUS = _corpus()


@settings(QUIET, max_examples=200)
@given(method=st.sampled_from(METHODS), payload=st.binary(max_size=80))
def test_random_bytes(service: Service, method: str, payload: bytes) -> None:
    service.tried(method, payload)


@st.composite
def damaged_requests(draw: st.DrawFn) -> tuple[str, bytes]:
    method = draw(st.sampled_from(sorted(CORPUS)))
    data = bytearray(CORPUS[method].SerializeToString())
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, max(len(data) - 1, 0)))
        way = draw(st.sampled_from(["change", "insert", "remove", "double"]))
        if way == "change" and data:
            data[place] = draw(st.integers(0, 255))
        elif way == "insert":
            data[place:place] = draw(st.binary(min_size=1, max_size=6))
        elif way == "remove":
            del data[place : place + draw(st.integers(1, 8))]
        else:
            data += data[place:]
    return method, bytes(data)


@settings(QUIET, max_examples=400)
@given(damaged_requests())
def test_damaged_requests(service: Service, request: tuple[str, bytes]) -> None:
    service.tried(*request)


TEXTS = st.sampled_from(
    ["", "c", "id", "v", "text", "doc", "$meta", "_default", "0", "-1", "1e999", "NaN", "{}", "[]"]
) | st.text(max_size=12)
NUMBERS = st.sampled_from([0, 1, 2, -1, 3, 5, 21, 23, 100, 101, 2**31 - 1, -(2**31)])
BIG = NUMBERS | st.sampled_from([2**63 - 1, -(2**63), 16_385])
_VALUES: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_STRING: TEXTS,
    FieldDescriptor.CPPTYPE_INT32: NUMBERS,
    FieldDescriptor.CPPTYPE_INT64: BIG,
    FieldDescriptor.CPPTYPE_UINT32: NUMBERS.map(abs),
    FieldDescriptor.CPPTYPE_UINT64: BIG.map(abs) | st.just(2**64 - 1),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
    FieldDescriptor.CPPTYPE_ENUM: st.integers(0, 110),
}


def _value(draw: st.DrawFn, field: Any) -> Any:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return draw(st.binary(max_size=12))
    return draw(_VALUES[field.cpp_type])


def _is_map(field: Any) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _change(draw: st.DrawFn, message: Any, depth: int = 0) -> None:
    """Set, remove or double something somewhere in a message."""
    fields = [field for field in message.DESCRIPTOR.fields if not _is_map(field)]
    present = [field for field, _ in message.ListFields() if not _is_map(field)]
    if not fields:
        return
    is_near = draw(st.integers(0, 3)) > 0
    field = draw(st.sampled_from(present if present and is_near else fields))
    holder = getattr(message, field.name)
    is_message = field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE
    if not field.is_repeated:
        if not is_message:
            setattr(message, field.name, _value(draw, field))
        elif draw(st.integers(0, 5)) == 0:
            message.ClearField(field.name)
        elif depth < 6:
            holder.SetInParent()
            _change(draw, holder, depth + 1)
        return
    way = draw(st.sampled_from(["into", "into", "remove", "double"]))
    if way == "remove" and len(holder):
        del holder[draw(st.integers(0, len(holder) - 1))]
    elif way == "double" and len(holder):
        holder.extend([holder[draw(st.integers(0, len(holder) - 1))]])
    elif is_message:
        chosen = holder[draw(st.integers(0, len(holder) - 1))] if len(holder) else holder.add()
        _change(draw, chosen, depth + 1)
    elif len(holder) and draw(st.booleans()):
        holder[draw(st.integers(0, len(holder) - 1))] = _value(draw, field)
    else:
        holder.append(_value(draw, field))


@st.composite
def changed_requests(draw: st.DrawFn) -> tuple[str, bytes]:
    method = draw(st.sampled_from(sorted(CORPUS)))
    message = type(CORPUS[method])()
    message.CopyFrom(CORPUS[method])
    for _ in range(draw(st.integers(1, 3))):
        _change(draw, message)
    return method, message.SerializeToString()


@settings(QUIET, max_examples=600)
@given(changed_requests())
def test_requests_with_other_values(service: Service, request: tuple[str, bytes]) -> None:
    service.tried(*request)


@st.composite
def changed_schemas(draw: st.DrawFn) -> bytes:
    """The schema inside of a request is bytes of its own."""
    request = milvus_pb2.CreateCollectionRequest()
    request.CopyFrom(CORPUS["CreateCollection"])
    schema = schema_pb2.CollectionSchema.FromString(request.schema)
    for _ in range(draw(st.integers(1, 3))):
        _change(draw, schema)
    request.schema = schema.SerializeToString()
    return bytes(request.SerializeToString())


@settings(QUIET, max_examples=300)
@given(changed_schemas())
def test_schemas_with_other_values(service: Service, payload: bytes) -> None:
    service.tried("CreateCollection", payload)
    drop = milvus_pb2.DropCollectionRequest(collection_name="made")
    assert service.tried("DropCollection", drop.SerializeToString()) == 0


_WORDS = (
    "id text doc tags more $meta {x} 1 -1 1.5 'a' \"b\" ( ) [ ] == != < >= + - * / % ** , and "
    "or not in like is null exists array_length json_contains doc['a'] tags[0] 9e999 0x1F && || !"
)
WORDS = st.sampled_from(_WORDS.split())


@settings(QUIET, max_examples=300)
@given(
    text=st.lists(WORDS, max_size=9).map(" ".join) | st.text(max_size=30),
    value=st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.booleans(),
)
def test_filters(service: Service, text: str, value: Any) -> None:
    query = milvus_pb2.QueryRequest(collection_name="c", expr=_encodable(text))
    if value is not None:
        slot = {bool: "bool_val", int: "int64_val", float: "float_val", str: "string_val"}
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            value = 2**63 - 1
        if isinstance(value, str):
            value = _encodable(value)
        setattr(query.expr_template_values["x"], slot[type(value)], value)
    assert service.tried("Query", query.SerializeToString()) in (0, 1100)
    delete = milvus_pb2.DeleteRequest(collection_name="made_up", expr=query.expr)
    assert service.tried("Delete", delete.SerializeToString()) in (100, 1101)
    search = milvus_pb2.SearchRequest()
    search.CopyFrom(CORPUS["Search"])
    search.dsl = query.expr
    search.expr_template_values.clear()
    for name, template in query.expr_template_values.items():
        search.expr_template_values[name].CopyFrom(template)
    assert service.tried("Search", search.SerializeToString()) in (0, 1100)


def _encodable(text: str) -> str:
    return text.encode(errors="replace").decode()
