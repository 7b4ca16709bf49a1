"""What a restore chooses and refuses."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from mishards.backup.manifest import Backup, CollectionBackup, LogCut
from mishards.backup.plan import parse_renames, plan_restore
from mishards.core import errors
from mishards.core.ids import CollectionId, DatabaseId, EntrySeq, LogId, MetadataVersion, Timestamp
from mishards.core.timestamps import compose
from mishards.metadata.models import CollectionMeta, DatabaseMeta, encode
from mishards.metadata.protocol import Changes
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.testing.writer_bench import make_schema

NOW_MS = 1_700_000_000_000
_ids = itertools.count(100)


def collection(name: str, database: int = 1, aliases: tuple[str, ...] = ()) -> CollectionMeta:
    return CollectionMeta(
        id=CollectionId(next(_ids)),
        database_id=DatabaseId(database),
        schema=make_schema(name),
        partitions=(),
        aliases=aliases,
    )


def backup(*full_names: str, aliases: tuple[str, ...] = (), at_ms: int = NOW_MS) -> Backup:
    held = tuple(
        CollectionBackup(
            database=full.partition(".")[0],
            meta=collection(full.partition(".")[2], aliases=aliases),
        )
        for full in full_names
    )
    return Backup(
        name="b",
        run="r",
        cluster="",
        created_ms=at_ms,
        metadata_version=MetadataVersion(1),
        cuts=(LogCut(log_id=LogId(0), seq=EntrySeq(1), timestamp=compose(at_ms)),),
        databases=(DatabaseMeta(id=DatabaseId(5), name="db", properties=(("p", "1"),)),),
        collections=held,
    )


def data_set(*metas: CollectionMeta) -> MetadataSnapshot:
    records = (DatabaseMeta(id=DatabaseId(1), name="default"), *metas)
    puts = tuple((record.key, encode(record)) for record in records)
    return MetadataSnapshot.empty().apply(Changes(MetadataVersion(0), MetadataVersion(1), puts))


def names(*args: object, **options: object) -> list[tuple[str, str, tuple[str, ...]]]:
    plan = plan_restore(*args, **options)  # type: ignore[arg-type]
    return [(one.backup.full_name, one.full_name, one.aliases) for one in plan.collections]


BOTH = backup("default.a", "db.b", aliases=("x",))


def test_a_whole_backup_goes_into_an_empty_data_set_as_it_was() -> None:
    plan = plan_restore(BOTH, data_set(), NOW_MS)
    assert [one.full_name for one in plan.collections] == ["default.a", "db.b"]
    assert [one.aliases for one in plan.collections] == [("x",), ("x",)]
    assert plan.databases == (("db", (("p", "1"),)), ("default", ()))


@pytest.mark.parametrize(
    ("collections", "renames", "expected"),
    [
        (("a",), (), [("default.a", "default.a", ("x",))]),
        (("db.b", "db.b"), (), [("db.b", "db.b", ("x",))]),
        ((), ("a=c",), [("default.a", "default.c", ())]),
        ((), ("db.b=c",), [("db.b", "db.c", ())]),
        ((), ("db.b=other.c",), [("db.b", "other.c", ())]),
        (("a", "db.b"), ("db.b=d",), [("default.a", "default.a", ("x",)), ("db.b", "db.d", ())]),
        (("a", "db.b"), ("a=b", "db.b=a"), [("default.a", "default.b", ()), ("db.b", "db.a", ())]),
    ],
)
def test_what_is_chosen(
    collections: tuple[str, ...],
    renames: tuple[str, ...],
    expected: list[tuple[str, str, tuple[str, ...]]],
) -> None:
    found = names(BOTH, data_set(collection("z")), NOW_MS, collections, parse_renames(renames))
    assert found == expected


@pytest.mark.parametrize(
    ("collections", "renames", "error", "message"),
    [
        ((), (), errors.DataInUse, "holds 2 collections"),
        (("a",), (), errors.CollectionAlreadyExists, "default.a exists"),
        ((), ("a=z",), errors.CollectionAlreadyExists, "default.z exists"),
        ((), ("a=y",), errors.CollectionAlreadyExists, "default.y exists"),
        (("db.b",), ("db.b=default.a",), errors.CollectionAlreadyExists, "default.a exists"),
        ((), ("a=n", "db.b=default.n"), errors.CollectionAlreadyExists, "default.n exists"),
        (("c",), (), errors.InvalidParameter, "no default.c in backup 'b'; it holds: db.b, def"),
        ((), ("c=d",), errors.InvalidParameter, "no default.c"),
        (("db.b",), ("a=d",), errors.InvalidParameter, "default.a is renamed, but not among"),
        ((), ("a=1d",), errors.InvalidParameter, "1d"),
        ((), ("a=1d.d",), errors.DatabaseInvalidName, "1d"),
    ],
)
def test_what_is_refused(
    collections: tuple[str, ...],
    renames: tuple[str, ...],
    error: type[errors.MishardsError],
    message: str,
) -> None:
    target = data_set(collection("a"), collection("z", aliases=("y",)))
    with pytest.raises(error, match=message):
        plan_restore(BOTH, target, NOW_MS, collections, parse_renames(renames))


def test_a_taken_alias_is_refused() -> None:
    with pytest.raises(errors.AliasAlreadyExists, match=r"default\.x, an alias of default\.a"):
        plan_restore(BOTH, data_set(collection("x")), NOW_MS, ("a",))


@pytest.mark.parametrize("text", ["a", "a=", "=b", "="])
def test_renames_that_are_none(text: str) -> None:
    with pytest.raises(errors.InvalidParameter, match="expected old=new"):
        parse_renames([text])


def test_a_collection_is_renamed_once() -> None:
    with pytest.raises(errors.InvalidParameter, match=r"default\.a is renamed twice"):
        parse_renames(["a=b", "default.a=c"])


def test_a_backup_of_the_far_future_is_refused() -> None:
    day_ms = 24 * 3600 * 1000
    assert names(backup("default.a"), data_set(), NOW_MS - day_ms)
    with pytest.raises(errors.InvalidParameter, match="after this machine's time"):
        plan_restore(backup("default.a"), data_set(), NOW_MS - day_ms - 1)


def test_timestamps_of_several_logs() -> None:
    cuts = tuple(
        LogCut(log_id=LogId(number), seq=EntrySeq(1), timestamp=Timestamp(10 + number))
        for number in range(3)
    )
    assert msgspec.structs.replace(BOTH, cuts=cuts).timestamp == 12
