"""Aliases: create, alter, drop. Source: https://milvus.io/docs/manage-aliases.md"""

from __future__ import annotations

from mishards.core.errors import (
    AliasAlreadyExists,
    AliasNameConflict,
    AliasNotFound,
    CollectionNotFound,
    InvalidParameter,
)
from mishards.core.schema import check_name
from mishards.metadata.models import CollectionMeta
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.rpc.messages import AlterAlias, CreateAlias, DropAlias
from mishards.writer.ddl_collections import changed, named
from mishards.writer.edit import NOTHING, Edit, Fresh


def create_alias(snapshot: MetadataSnapshot, message: CreateAlias, fresh: Fresh) -> Edit:
    """Creating an alias again for the same collection succeeds.

    Raises:
        DatabaseNotFound, CollectionNotFound, InvalidParameter.
        AliasNameConflict: a collection has the name.
        AliasAlreadyExists: it points to another collection.
    """
    check_name("collection alias", message.alias, InvalidParameter)
    meta = _target(snapshot, message.database, message.collection)
    owner = _owner(snapshot, message.database, message.alias)
    if owner is None:
        return Edit((_with(meta, message.alias, fresh),))
    if owner.id != meta.id:
        raise AliasAlreadyExists(
            f"{message.alias} is alias to another collection: {owner.name}, "
            f"not {meta.name}: alias already exist"
        )
    return NOTHING


def alter_alias(snapshot: MetadataSnapshot, message: AlterAlias, fresh: Fresh) -> Edit:
    """Point an alias to another collection.

    Raises:
        DatabaseNotFound, CollectionNotFound, AliasNotFound, InvalidParameter, AliasNameConflict.
    """
    check_name("collection alias", message.alias, InvalidParameter)
    meta = _target(snapshot, message.database, message.collection)
    owner = _owner(snapshot, message.database, message.alias)
    if owner is None:
        database = snapshot.database(message.database).name
        raise AliasNotFound(f"alias not found[database={database}][alias={message.alias}]")
    if owner.id == meta.id:
        return NOTHING
    return Edit((_without(owner, message.alias, fresh), _with(meta, message.alias, fresh)))


def drop_alias(snapshot: MetadataSnapshot, message: DropAlias, fresh: Fresh) -> Edit:
    """Dropping a missing alias succeeds. Raises: DatabaseNotFound, AliasNameConflict."""
    snapshot.database(message.database)
    owner = _owner(snapshot, message.database, message.alias)
    return NOTHING if owner is None else Edit((_without(owner, message.alias, fresh),))


def _target(snapshot: MetadataSnapshot, database: str, name: str) -> CollectionMeta:
    """The collection of that very name: an alias of an alias is not allowed."""
    meta = named(snapshot, database, name).meta
    if meta.name != name:
        raise CollectionNotFound(
            f"collection not found[collection={name}]; it is an alias of {meta.name!r}, "
            "and an alias can only name a collection"
        )
    return meta


def _owner(snapshot: MetadataSnapshot, database: str, alias: str) -> CollectionMeta | None:
    """The collection an alias points to; None where the name is free."""
    found = snapshot.find(database, alias)
    if found is not None and found.name == alias:
        raise AliasNameConflict(
            f"alias and collection name conflict[database={snapshot.database(database).name}]"
            f"[alias={alias}]"
        )
    return None if found is None else found.meta


def _with(meta: CollectionMeta, alias: str, fresh: Fresh) -> CollectionMeta:
    return changed(meta, aliases=tuple(sorted((*meta.aliases, alias))), updated=fresh())


def _without(meta: CollectionMeta, alias: str, fresh: Fresh) -> CollectionMeta:
    rest = tuple(other for other in meta.aliases if other != alias)
    return changed(meta, aliases=rest, updated=fresh())
