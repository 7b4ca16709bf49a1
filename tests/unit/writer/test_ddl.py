"""Every rule of DDL, on snapshots alone: what is asked of which state, and what comes of it."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from mishards.core import errors
from mishards.core.ids import FieldId, MetadataVersion, Timestamp
from mishards.core.schema import CollectionSchema, DataType, FieldSchema, Metric
from mishards.metadata.models import DatabaseMeta, encode
from mishards.metadata.protocol import Changes
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.rpc import messages as m
from mishards.testing.writer_bench import make_schema
from mishards.writer.ddl import DDL_RULES

TWO_VECTORS = CollectionSchema(
    name="two",
    fields=(
        FieldSchema(id=FieldId(100), name="id", type=DataType.INT64, primary_key=True),
        FieldSchema(id=FieldId(101), name="v", type=DataType.FLOAT_VECTOR, dim=4),
        FieldSchema(id=FieldId(102), name="w", type=DataType.FLOAT_VECTOR, dim=4),
    ),
)


class World:
    """Metadata that messages change."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.snapshot = MetadataSnapshot.empty()
        self._apply((DatabaseMeta(id=self.fresh(), name="default"),), ())

    def fresh(self) -> Any:
        return Timestamp(next(self._numbers))

    def do(self, message: Any) -> bool:
        """Apply a message; whether it changed anything."""
        edit = DDL_RULES[type(message)](self.snapshot, message, self.fresh)
        if not edit.is_empty:
            self._apply(edit.puts, edit.deletes)
        return not edit.is_empty

    def _apply(self, puts: Any, deletes: Any) -> None:
        since = self.snapshot.version
        changes = Changes(
            since, MetadataVersion(since + 1), tuple((r.key, encode(r)) for r in puts), deletes
        )
        self.snapshot = self.snapshot.apply(changes)

    def meta(self, name: str = "c", database: str = "") -> Any:
        return self.snapshot.resolve(database, name).meta


def collection(name: str = "c", **settings: Any) -> m.CreateCollection:
    return m.CreateCollection(database="", schema=make_schema(name), **settings)


def index(params: dict[str, str] | None = None, **settings: Any) -> m.CreateIndex:
    return m.CreateIndex(
        **{"database": "", "collection": "c", "field": "v", "params": params or {}, **settings}
    )


def partition(name: str) -> m.CreatePartition:
    return m.CreatePartition(database="", collection="c", partition=name)


def alias(name: str, collection: str = "c") -> m.CreateAlias:
    return m.CreateAlias(database="", collection=collection, alias=name)


def load(*partitions: str, **settings: Any) -> m.Load:
    return m.Load(database="", collection="c", partitions=partitions, **settings)


def release(*partitions: str) -> m.Release:
    return m.Release(database="", collection="c", partitions=partitions)


def rename(name: str, new_name: str, new_database: str = "") -> m.RenameCollection:
    return m.RenameCollection(database="", name=name, new_database=new_database, new_name=new_name)


def drop(name: str = "c") -> m.DropCollection:
    return m.DropCollection(database="", name=name)


def drop_partition(name: str) -> m.DropPartition:
    return m.DropPartition(database="", collection="c", partition=name)


def drop_index(**settings: str) -> m.DropIndex:
    return m.DropIndex(database="", collection="c", **settings)


LOADED = [collection(), index(), load()]
DATABASE = m.CreateDatabase(name="d")

REFUSED: list[tuple[str, list[Any], Any, type[Exception], str]] = [
    ("database exists", [DATABASE], DATABASE, errors.InvalidParameter, "d"),
    ("database name", [], m.CreateDatabase(name="1x"), errors.DatabaseInvalidName, "1x"),
    ("default again", [], m.CreateDatabase(name="default"), errors.InvalidParameter, "exist"),
    ("drop default", [], m.DropDatabase(name="default"), errors.InvalidParameter, "default"),
    ("drop unnamed", [], m.DropDatabase(name=""), errors.InvalidParameter, "default"),
    (
        "drop full",
        [DATABASE, m.CreateCollection(database="d", schema=make_schema())],
        m.DropDatabase(name="d"),
        errors.InvalidParameter,
        "not empty",
    ),
    ("alter missing", [], m.AlterDatabase(name="d"), errors.DatabaseNotFound, "d"),
    (
        "database missing",
        [],
        m.CreateCollection(database="d", schema=make_schema()),
        errors.DatabaseNotFound,
        "d",
    ),
    (
        "different schema",
        [collection()],
        m.CreateCollection(database="", schema=make_schema(key=DataType.VARCHAR)),
        errors.CollectionAlreadyExists,
        "create duplicate collection with different parameters",
    ),
    (
        "different level",
        [collection()],
        collection(consistency=0),
        errors.CollectionAlreadyExists,
        "different parameters",
    ),
    ("level unknown", [], collection(consistency=9), errors.InvalidParameter, "9"),
    ("shards", [], collection(shards=0), errors.InvalidParameter, "0"),
    ("name is alias", [collection(), alias("a")], collection("a"), errors.AliasNameConflict, "a"),
    ("drop by alias", [collection(), alias("a")], drop("a"), errors.InvalidParameter, "alias = a"),
    ("drop aliased", [collection(), alias("a")], drop(), errors.InvalidParameter, "a"),
    (
        "drop in no database",
        [],
        m.DropCollection(database="d", name="c"),
        errors.DatabaseNotFound,
        "d",
    ),
    ("rename missing", [], rename("c", "e"), errors.CollectionNotFound, "c"),
    ("rename to itself", [collection()], rename("c", "c"), errors.InvalidParameter, "different"),
    (
        "rename to taken",
        [collection(), collection("e")],
        rename("c", "e"),
        errors.InvalidParameter,
        "duplicated",
    ),
    (
        "rename to alias",
        [collection(), collection("e"), alias("a", "e")],
        rename("c", "a"),
        errors.InvalidParameter,
        "duplicated",
    ),
    (
        "rename alias",
        [collection(), alias("a")],
        rename("a", "e"),
        errors.InvalidParameter,
        "alias:a",
    ),
    ("rename to no database", [collection()], rename("c", "e", "d"), errors.DatabaseNotFound, "d"),
    (
        "rename aliased away",
        [DATABASE, collection(), alias("a")],
        rename("c", "e", "d"),
        errors.InvalidParameter,
        "a",
    ),
    ("rename to bad name", [collection()], rename("c", "1e"), errors.SchemaError, "1e"),
    (
        "alter missing collection",
        [],
        m.AlterCollection(database="", name="c"),
        errors.CollectionNotFound,
        "c",
    ),
    (
        "truncate missing",
        [],
        m.TruncateCollection(database="", name="c"),
        errors.CollectionNotFound,
        "c",
    ),
    ("no name", [], m.TruncateCollection(database="", name=""), errors.CollectionNotFound, "empty"),
    ("partition of nothing", [], partition("p"), errors.CollectionNotFound, "c"),
    ("partition name", [collection()], partition("a-b"), errors.InvalidParameter, "a-b"),
    (
        "drop _default",
        [collection()],
        drop_partition("_default"),
        errors.InvalidParameter,
        "default partition cannot be deleted",
    ),
    (
        "drop loaded partition",
        [*LOADED, partition("p")],
        drop_partition("p"),
        errors.InvalidParameter,
        "release it first",
    ),
    ("alias of nothing", [], alias("a"), errors.CollectionNotFound, "c"),
    (
        "alias of alias",
        [collection(), alias("a")],
        alias("b", "a"),
        errors.CollectionNotFound,
        "alias of 'c'",
    ),
    ("alias like collection", [collection()], alias("c"), errors.AliasNameConflict, "c"),
    ("alias name", [collection()], alias("$"), errors.InvalidParameter, r"\$"),
    (
        "alias taken",
        [collection(), collection("e"), alias("a")],
        alias("a", "e"),
        errors.AliasAlreadyExists,
        "a",
    ),
    (
        "alter no alias",
        [collection()],
        m.AlterAlias(database="", collection="c", alias="a"),
        errors.AliasNotFound,
        "a",
    ),
    (
        "drop collection as alias",
        [collection()],
        m.DropAlias(database="", alias="c"),
        errors.AliasNameConflict,
        "c",
    ),
    ("index on nothing", [], index(), errors.CollectionNotFound, "c"),
    ("index field", [collection()], index(field="x"), errors.FieldNotFound, "x"),
    (
        "index type",
        [collection()],
        index({"index_type": "ANNOY"}),
        errors.InvalidParameter,
        "ANNOY",
    ),
    (
        "scalar index",
        [collection()],
        index({"index_type": "INVERTED"}, field="n"),
        errors.IndexNotSupported,
        "INVERTED",
    ),
    (
        "index metric",
        [collection()],
        index({"metric_type": "HAMMING"}),
        errors.InvalidParameter,
        "HAMMING",
    ),
    (
        "index param",
        [collection()],
        index({"index_type": "HNSW", "M": "1"}),
        errors.InvalidParameter,
        "M",
    ),
    ("index name", [collection()], index(name="1 2"), errors.InvalidParameter, "1 2"),
    (
        "other params",
        [collection(), index()],
        index({"index_type": "FLAT"}),
        errors.IndexDuplicate,
        "one distinct index",
    ),
    (
        "other metric",
        [collection(), index()],
        index({"metric_type": "L2"}),
        errors.IndexDuplicate,
        "one distinct index",
    ),
    ("other name", [collection(), index()], index(name="other"), errors.IndexDuplicate, "v"),
    (
        "name of other field",
        [m.CreateCollection(database="", schema=TWO_VECTORS), index(collection="two", name="i")],
        index(collection="two", field="w", name="i"),
        errors.IndexDuplicate,
        "i",
    ),
    (
        "drop index loaded",
        LOADED,
        drop_index(name="v"),
        errors.InvalidParameter,
        "index cannot be dropped, collection is loaded, please release it first",
    ),
    ("load without index", [collection()], load(), errors.IndexNotFound, "v"),
    (
        "load half indexed",
        [m.CreateCollection(database="", schema=TWO_VECTORS), index(collection="two")],
        m.Load(database="", collection="two"),
        errors.IndexNotFound,
        "w",
    ),
    ("load partition", [collection(), index()], load("p"), errors.PartitionNotFound, "p"),
    ("no replicas", [collection(), index()], load(replica_number=0), errors.InvalidParameter, "0"),
    ("other replicas", LOADED, load(replica_number=2), errors.InvalidParameter, "2"),
    ("release partition", LOADED, release("p"), errors.PartitionNotFound, "p"),
    ("release missing", [], release(), errors.CollectionNotFound, "c"),
]

SAME: list[tuple[str, list[Any], Any]] = [
    ("drop missing database", [], m.DropDatabase(name="d")),
    ("alter to the same", [DATABASE], m.AlterDatabase(name="d", removed=("x",))),
    ("create the same", [collection()], collection()),
    ("drop missing", [], drop()),
    ("alter collection to the same", [collection()], m.AlterCollection(database="", name="c")),
    ("partition exists", [collection(), partition("p")], partition("p")),
    ("drop missing partition", [collection()], drop_partition("p")),
    ("alias exists", [collection(), alias("a")], alias("a")),
    (
        "alter to the same target",
        [collection(), alias("a")],
        m.AlterAlias(database="", collection="c", alias="a"),
    ),
    ("drop missing alias", [], m.DropAlias(database="", alias="a")),
    ("same index", [collection(), index()], index()),
    ("same index named as its field", [collection(), index()], index(name="v")),
    (
        "same index, defaults written out",
        [collection(), index({"index_type": "HNSW"})],
        index({"index_type": "HNSW", "metric_type": "COSINE", "M": "18"}),
    ),
    ("drop missing index", [collection()], drop_index(name="v")),
    ("drop missing index by field", [collection()], drop_index(field="v")),
    ("load again", LOADED, load()),
    ("load part of the whole", LOADED, load("_default")),
    ("release what is not loaded", [collection()], release()),
]


@pytest.mark.parametrize(
    ("before", "message", "error", "text"),
    [case[1:] for case in REFUSED],
    ids=[case[0] for case in REFUSED],
)
def test_refused(before: list[Any], message: Any, error: type[Exception], text: str) -> None:
    world = World()
    for one in before:
        assert world.do(one)
    version = world.snapshot.version
    with pytest.raises(error, match=text) as caught:
        world.do(message)
    assert type(caught.value) is error
    assert world.snapshot.version == version


@pytest.mark.parametrize(
    ("before", "message"), [case[1:] for case in SAME], ids=[case[0] for case in SAME]
)
def test_already_so(before: list[Any], message: Any) -> None:
    world = World()
    for one in before:
        assert world.do(one)
    assert not world.do(message)


@pytest.fixture
def world() -> World:
    world = World()
    world.do(collection())
    return world


def test_every_message_has_a_rule() -> None:
    assert set(DDL_RULES) == set(m.Ddl.__args__)


def test_created_collection_has_a_default_partition_and_no_older_rows(world: World) -> None:
    meta = world.meta()
    assert [one.name for one in meta.partitions] == ["_default"]
    assert meta.checkpoint == meta.created == meta.id
    assert not meta.loaded_partitions


def test_databases_hold_names_apart(world: World) -> None:
    world.do(DATABASE)
    world.do(m.CreateCollection(database="d", schema=make_schema()))
    assert world.meta("c", "d").id != world.meta().id
    world.do(m.DropCollection(database="d", name="c"))
    assert world.do(m.DropDatabase(name="d"))
    assert world.meta().name == "c"


def test_too_many_databases(world: World) -> None:
    for number in range(63):
        world.do(m.CreateDatabase(name=f"d{number}"))
    with pytest.raises(errors.InvalidParameter, match="at most 64"):
        world.do(DATABASE)


def test_too_many_partitions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mishards.core.limits.MAX_PARTITIONS", 3)
    world.do(partition("p1"))
    world.do(partition("p2"))
    with pytest.raises(errors.InvalidParameter, match="exceeds max configuration"):
        world.do(partition("p3"))


def test_properties_are_merged_and_removed(world: World) -> None:
    world.do(m.AlterCollection(database="", name="c", properties=(("b", "1"), ("a", "2"))))
    world.do(m.AlterCollection(database="", name="c", properties=(("b", "3"),), removed=("a",)))
    assert world.meta().schema.properties == (("b", "3"),)
    world.do(DATABASE)
    world.do(m.AlterDatabase(name="d", properties=(("x", "1"),)))
    assert world.snapshot.database("d").properties == (("x", "1"),)


def test_rename_over_databases_keeps_the_id(world: World) -> None:
    world.do(DATABASE)
    before = world.meta().id
    world.do(rename("c", "e", "d"))
    assert world.meta("e", "d").id == before
    assert world.snapshot.find("", "c") is None


def test_aliases_are_found_moved_and_dropped(world: World) -> None:
    world.do(collection("e"))
    world.do(alias("a"))
    assert world.meta("a").name == "c"
    world.do(m.AlterAlias(database="", collection="e", alias="a"))
    assert world.meta("a").name == "e"
    assert world.meta("c").aliases == ()
    world.do(m.DropAlias(database="", alias="a"))
    assert world.snapshot.find("", "a") is None


def test_index_defaults_are_milvus_s(world: World) -> None:
    world.do(index({"index_type": ""}))
    made = world.meta().index_by_field["v"]
    assert (made.name, made.requested, made.family) == ("v", "AUTOINDEX", "HNSW")
    assert made.metric is Metric.COSINE
    assert dict(made.params) == {"M": "18", "efConstruction": "240"}


def test_index_keeps_its_parameters(world: World) -> None:
    world.do(index({"index_type": "IVF_FLAT", "metric_type": "l2", "nlist": "7"}, name="i"))
    made = world.meta().index_by_field["v"]
    assert (made.name, made.requested, made.metric) == ("i", "IVF_FLAT", Metric.L2)
    assert dict(made.params)["nlist"] == "7"
    world.do(drop_index(name="i"))
    assert world.meta().indexes == ()


def test_a_changed_record_remembers_nothing_of_the_old_one(world: World) -> None:
    assert world.meta().index_by_field == {}
    assert world.meta().partition_by_name.keys() == {"_default"}
    world.do(index())
    world.do(partition("p"))
    assert world.meta().index_by_field.keys() == {"v"}
    assert world.meta().partition_by_name.keys() == {"_default", "p"}


def test_load_and_release_the_whole(world: World) -> None:
    world.do(partition("p"))
    world.do(index())
    world.do(load(replica_number=2))
    meta = world.meta()
    assert len(meta.loaded_partitions) == 2
    assert (meta.loaded_whole, meta.replica_number) == (True, 2)
    world.do(partition("q"))
    assert world.meta().partition_by_name["q"].loaded
    world.do(release())
    meta = world.meta()
    assert (meta.loaded_partitions, meta.loaded_whole, meta.replica_number) == (set(), False, 0)


def test_load_and_release_partitions(world: World) -> None:
    world.do(partition("p"))
    world.do(index())
    world.do(load("p"))
    assert [one.name for one in world.meta().partitions if one.loaded] == ["p"]
    world.do(partition("q"))
    assert not world.meta().partition_by_name["q"].loaded
    world.do(release("p"))
    assert world.meta().replica_number == 0
    assert world.do(drop_partition("p"))


def test_releasing_a_part_ends_the_whole(world: World) -> None:
    world.do(partition("p"))
    world.do(index())
    world.do(load())
    world.do(release("p"))
    meta = world.meta()
    assert not meta.loaded_whole
    assert meta.replica_number == 1
    assert [one.name for one in meta.partitions if one.loaded] == ["_default"]


def test_the_edit_is_pure(world: World) -> None:
    rule = DDL_RULES[m.CreateIndex]
    first = rule(world.snapshot, index(), lambda: Timestamp(7))
    second = rule(world.snapshot, index(), lambda: Timestamp(7))
    assert msgspec.json.encode(first) == msgspec.json.encode(second)
