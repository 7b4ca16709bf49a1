"""Databases: create, drop, alter. Source: https://milvus.io/docs/manage_databases.md"""

from __future__ import annotations

import msgspec

from mishards.core import limits
from mishards.core.errors import DatabaseInvalidName, InvalidParameter
from mishards.core.ids import DatabaseId
from mishards.core.schema import check_name
from mishards.metadata.models import DEFAULT_DATABASE, DatabaseMeta
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.rpc.messages import AlterDatabase, CreateDatabase, DropDatabase
from mishards.writer.edit import NOTHING, Edit, Fresh

Properties = tuple[tuple[str, str], ...]


def merge_properties(
    old: Properties, changed: Properties, removed: tuple[str, ...] = ()
) -> Properties:
    """`old` with the changed ones replaced or added and the removed ones gone, by name."""
    merged = {**dict(old), **dict(changed)}
    return tuple(sorted((name, value) for name, value in merged.items() if name not in removed))


def create_database(snapshot: MetadataSnapshot, message: CreateDatabase, fresh: Fresh) -> Edit:
    """Raises: DatabaseInvalidName, InvalidParameter: the name is taken, or there are too many."""
    check_name("database", message.name, DatabaseInvalidName)
    if message.name in snapshot.databases:
        raise InvalidParameter(f"database already exist: {message.name}")
    if len(snapshot.databases) >= limits.MAX_DATABASES:
        raise InvalidParameter(
            f"cannot create database {message.name!r}: there are {len(snapshot.databases)}; "
            f"at most {limits.MAX_DATABASES} are allowed"
        )
    return Edit((new_database(message.name, message.properties, fresh),))


def new_database(name: str, properties: Properties, fresh: Fresh) -> DatabaseMeta:
    """The record of a database that is being made.

    Raises:
        DatabaseInvalidName.
    """
    check_name("database", name, DatabaseInvalidName)
    now = fresh()
    merged = merge_properties((), properties)
    return DatabaseMeta(id=DatabaseId(now), name=name, created=now, properties=merged)


def drop_database(snapshot: MetadataSnapshot, message: DropDatabase, fresh: Fresh) -> Edit:
    """Dropping a missing database succeeds.

    Raises:
        InvalidParameter: it is the default database, or it holds collections.
    """
    if message.name in ("", DEFAULT_DATABASE):
        raise InvalidParameter("can not drop default database")
    if (database := snapshot.databases.get(message.name)) is None:
        return NOTHING
    held = [
        view.name for view in snapshot.collections.values() if view.meta.database_id == database.id
    ]
    if held:
        raise InvalidParameter(
            f"database:{message.name} not empty, must drop all collections before drop database; "
            f"it holds {len(held)}, {sorted(held)[0]!r} among them"
        )
    return Edit(deletes=(database.key,))


def alter_database(snapshot: MetadataSnapshot, message: AlterDatabase, fresh: Fresh) -> Edit:
    """Raises: DatabaseNotFound."""
    database = snapshot.database(message.name)
    properties = merge_properties(database.properties, message.properties, message.removed)
    if properties == database.properties:
        return NOTHING
    return Edit((msgspec.structs.replace(database, properties=properties),))
