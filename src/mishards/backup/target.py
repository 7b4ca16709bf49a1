"""A place that holds backups: which there are, which objects they share, and how one goes.

    backups/<name>.json                     a backup's manifest; made last, exclusively
    unfinished/<name>/<run>.json            the objects that a backup under way relies on
    objects/<collection>/<path>.<checksum>  files of segments, shared by all backups that name them
    tails/<name>/<run>/<collection>/<part>  growing mutations, of one backup alone

Invariants: an object's key says its contents, so it is written once and never changed; an object
that a manifest or an unfinished backup names is not removed. A backup says what it relies on
before it looks for what is there, and looks again after its manifest is made, so a backup that is
deleted at the same time takes nothing from it.
"""

from __future__ import annotations

import msgspec

from mishards.backup.manifest import (
    Backup,
    BackupFile,
    check_backup_name,
    decode_backup,
    encode_backup,
)
from mishards.core.errors import CorruptObject, InvalidParameter, ObjectExists, ObjectNotFound
from mishards.core.ids import CollectionId
from mishards.storage.protocol import ObjectStore

_BACKUPS, _UNFINISHED, _OBJECTS, _TAILS = "backups/", "unfinished/", "objects/", "tails/"
_SUFFIX = ".json"


class Unfinished(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that is being made, or was interrupted."""

    name: str
    run: str
    started_ms: int
    host: str
    objects: tuple[str, ...] = ()


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """What a deletion has removed."""

    name: str
    objects: int
    size_bytes: int


def object_key(collection_id: CollectionId, file: BackupFile) -> str:
    """Key of a file that backups may share."""
    return f"{_OBJECTS}{collection_id}/{file.path}.{file.checksum:08x}"


def tail_key(name: str, run: str, collection_id: CollectionId, number: int) -> str:
    """Key of a part of a backup's growing mutations."""
    return f"{_TAILS}{name}/{run}/{collection_id}/{number:06d}"


def object_keys(backup: Backup) -> set[str]:
    """Keys of the shared objects of a backup."""
    return {object_key(one.meta.id, file) for one in backup.collections for file in one.files}


class BackupTarget:
    """Backups in an object store. All coroutines: from the loop's thread."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    async def names(self) -> list[str]:
        """Whole backups, by name."""
        found = await self.store.list(_BACKUPS)
        return [info.key.removeprefix(_BACKUPS).removesuffix(_SUFFIX) for info in found]

    async def backups(self) -> list[Backup]:
        """All manifests, oldest first.

        Raises:
            CorruptObject: one is damaged; names it.
        """
        found = [await self.read(name) for name in await self.names()]
        return sorted(found, key=lambda backup: (backup.created_ms, backup.name))

    async def read(self, name: str) -> Backup:
        """The manifest of a backup.

        Raises:
            InvalidParameter: there is no such backup; lists those that are there.
            CorruptObject: it is damaged; names the object.
        """
        check_backup_name(name)
        key = _manifest_key(name)
        try:
            data = await self.store.get(key)
        except ObjectNotFound:
            known = ", ".join(await self.names()) or "none"
            raise InvalidParameter(f"no backup {name!r} here; there are: {known}") from None
        return decode_backup(data, key)

    async def newest(self) -> Backup:
        """The backup made last.

        Raises:
            InvalidParameter: there is none.
        """
        if not (found := await self.backups()):
            raise InvalidParameter("no whole backup here")
        return found[-1]

    async def unfinished(self) -> list[Unfinished]:
        """Backups under way or interrupted.

        Raises:
            CorruptObject: what one has left cannot be read; names the object.
        """
        found = []
        for info in await self.store.list(_UNFINISHED):
            try:
                data = await self.store.get(info.key)
                found.append(msgspec.json.decode(data, type=Unfinished))
            except ObjectNotFound:
                continue
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise CorruptObject(f"{info.key!r} cannot be read: {error}") from error
        return found

    async def begin(self, unfinished: Unfinished) -> None:
        """Say what a backup relies on; from here on nobody removes that.

        Raises:
            InvalidParameter: a backup of this name is there.
        """
        if unfinished.name in await self.names():
            raise _taken(unfinished.name)
        key = f"{_UNFINISHED}{unfinished.name}/{unfinished.run}{_SUFFIX}"
        await self.store.put(key, msgspec.json.encode(unfinished))

    async def present(self) -> dict[str, int]:
        """Sizes of the shared objects that are there, by key."""
        return {info.key: info.size_bytes for info in await self.store.list(_OBJECTS)}

    async def publish(self, backup: Backup) -> None:
        """Make a backup whole: all its objects are there.

        Raises:
            InvalidParameter: another of this name came first.
        """
        key, data = _manifest_key(backup.name), encode_backup(backup)
        try:
            await self.store.create(key, data)
        except ObjectExists:
            if await self.store.get(key) != data:
                raise _taken(backup.name) from None

    async def finish(self, backup: Backup) -> None:
        """Remove what attempts under this name have left: the manifest says it all."""
        kept = {part.key for one in backup.collections for part in one.tail}
        await self._clear(backup.name, kept)

    async def delete(self, name: str) -> Removed:
        """Remove a backup, whole or unfinished, and what no other one names.

        Interrupted, it can be repeated. Of an unfinished one: only when nobody is at it any more.

        Raises:
            InvalidParameter: there is no such backup.
            CorruptObject: another backup's manifest is damaged, so it is not known what it names.
        """
        check_backup_name(name)
        unfinished = [one for one in await self.unfinished() if one.name == name]
        others = [one for one in await self.names() if one != name]
        for other in others:
            await self.read(other)
        if name in await self.names():
            await self.store.delete(_manifest_key(name))
        elif not unfinished and not await self.store.list(f"{_TAILS}{name}/"):
            raise InvalidParameter(f"no backup {name!r} here; there are: {', '.join(others)}")
        before = await self._clear(name, set())
        shared = await self._sweep()
        return Removed(
            name=name,
            objects=before.objects + shared.objects,
            size_bytes=before.size_bytes + shared.size_bytes,
        )

    async def _sweep(self) -> Removed:
        """Remove the shared objects that nothing names."""
        present = await self.present()
        named: set[str] = set()
        for backup in await self.backups():
            named |= object_keys(backup)
        for one in await self.unfinished():
            named.update(one.objects)
        orphans = [key for key in present if key not in named]
        for key in orphans:
            await self.store.delete(key)
        return Removed(name="", objects=len(orphans), size_bytes=sum(present[k] for k in orphans))

    async def _clear(self, name: str, kept: set[str]) -> Removed:
        """Remove what belongs to a name alone, but for `kept`."""
        tails = [info for info in await self.store.list(f"{_TAILS}{name}/") if info.key not in kept]
        for info in (*tails, *await self.store.list(f"{_UNFINISHED}{name}/")):
            await self.store.delete(info.key)
        return Removed(
            name=name, objects=len(tails), size_bytes=sum(info.size_bytes for info in tails)
        )


def _manifest_key(name: str) -> str:
    return f"{_BACKUPS}{name}{_SUFFIX}"


def _taken(name: str) -> InvalidParameter:
    return InvalidParameter(f"a backup {name!r} is here already; choose another name")
