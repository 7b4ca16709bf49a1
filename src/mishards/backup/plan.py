"""What a restore brings back, and under which names: decided before anything is copied. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from mishards.backup.manifest import Backup, CollectionBackup
from mishards.backup.moment import split_name
from mishards.core.errors import (
    AliasAlreadyExists,
    CollectionAlreadyExists,
    DatabaseInvalidName,
    DataInUse,
    InvalidParameter,
)
from mishards.core.schema import check_name
from mishards.core.timestamps import physical_ms
from mishards.metadata.models import DEFAULT_DATABASE
from mishards.metadata.snapshot import MetadataSnapshot

_GREATEST_LEAD_MS = 24 * 3600 * 1000
"""How far reads may look ahead of the clock (`proxy.consistency`)."""


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """A collection of a backup, and what it is to be called; a renamed one has no aliases."""

    backup: CollectionBackup
    database: str
    name: str
    aliases: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        return f"{self.database}.{self.name}"


class RestorePlan(msgspec.Struct, frozen=True, kw_only=True):
    """Collections to bring back, and the properties of their databases where those are missing."""

    collections: tuple[Restored, ...]
    databases: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


def parse_renames(texts: Iterable[str]) -> dict[str, str]:
    """Old full names to new ones, of texts `[database.]old=[database.]new`.

    Without a database the old name is in the default one, the new name in that of the old one.

    Raises:
        InvalidParameter: a text is malformed, or a collection is renamed twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        old, separator, new = text.partition("=")
        if not (old and separator and new):
            raise InvalidParameter(f"invalid rename {text!r}: expected old=new or db.old=db2.new")
        old_full = full_name(old)
        if old_full in found:
            raise InvalidParameter(f"{old_full} is renamed twice: {found[old_full]} and {new}")
        found[old_full] = full_name(new, split_name(old_full)[0])
    return found


def full_name(name: str, database: str = DEFAULT_DATABASE) -> str:
    """`database.name` of a name with or without its database."""
    given, own = split_name(name)
    return f"{given or database}.{own}"


def plan_restore(
    backup: Backup,
    snapshot: MetadataSnapshot,
    now_ms: int,
    collections: Sequence[str] = (),
    renames: Mapping[str, str] | None = None,
) -> RestorePlan:
    """Choose the collections named, or else those renamed, or else all.

    Args:
        snapshot: of the data set that they are restored into.
        renames: as `parse_renames` gives them.

    Raises:
        InvalidParameter: a collection is not in the backup; a new name is not allowed; the
            backup's rows are of a far future.
        DataInUse: all are to be restored, and the data set holds collections.
        CollectionAlreadyExists, AliasAlreadyExists: a name is taken.
    """
    renames = renames or {}
    _check_time(backup, now_ms)
    wanted = _wanted(backup, snapshot, collections, renames)
    plans = [_named(one, renames) for one in wanted]
    taken = {
        f"{database.name}.{name}"
        for database in snapshot.databases.values()
        for owner, name in snapshot.names
        if owner == database.id
    }
    for plan in plans:
        if plan.full_name in taken:
            raise CollectionAlreadyExists(
                f"{plan.full_name} exists; restore it under another name with "
                f"--rename {plan.backup.full_name}=NEW"
            )
        taken.add(plan.full_name)
        for alias in plan.aliases:
            if (full := f"{plan.database}.{alias}") in taken:
                raise AliasAlreadyExists(
                    f"{full}, an alias of {plan.full_name} in the backup, exists; a collection "
                    "that is renamed is restored without its aliases"
                )
            taken.add(full)
    return RestorePlan(collections=tuple(plans), databases=_databases(backup, plans))


def _wanted(
    backup: Backup,
    snapshot: MetadataSnapshot,
    collections: Sequence[str],
    renames: Mapping[str, str],
) -> list[CollectionBackup]:
    held = {one.full_name: one for one in backup.collections}
    names = list(dict.fromkeys([full_name(name) for name in collections] or renames))
    if not names:
        if snapshot.collections:
            raise DataInUse(
                f"the data set holds {len(snapshot.collections)} collections; a whole backup is "
                "restored into an empty one. Choose collections, or give them other names"
            )
        return list(held.values())
    for name in (*names, *renames):
        if name not in held:
            known = ", ".join(sorted(held)) or "none"
            raise InvalidParameter(f"no {name} in backup {backup.name!r}; it holds: {known}")
        if name not in names:
            raise InvalidParameter(f"{name} is renamed, but not among those to be restored")
    return [held[name] for name in names]


def _named(one: CollectionBackup, renames: Mapping[str, str]) -> Restored:
    if (new := renames.get(one.full_name)) is None:
        return Restored(
            backup=one, database=one.database, name=one.meta.name, aliases=one.meta.aliases
        )
    database, name = split_name(new)
    check_name("collection", name, InvalidParameter)
    check_name("database", database, DatabaseInvalidName)
    return Restored(backup=one, database=database, name=name)


def _databases(
    backup: Backup, plans: Iterable[Restored]
) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    """Each database that is used; one of another name than it had takes no properties along."""
    known = {one.name: one.properties for one in backup.databases}
    used = sorted({plan.database for plan in plans})
    return tuple((name, known.get(name, ())) for name in used)


def _check_time(backup: Backup, now_ms: int) -> None:
    lead_ms = physical_ms(backup.timestamp) - now_ms
    if lead_ms > _GREATEST_LEAD_MS:
        raise InvalidParameter(
            f"backup {backup.name!r} holds rows of {lead_ms // 1000} seconds after this machine's "
            f"time; at most {_GREATEST_LEAD_MS // 1000} are allowed. Set the clock"
        )
