"""Objects in a bucket of an S3-compatible store.

Invariants: an object appears whole or not at all, and is durable when the store has answered. Every
request has a time limit. `create` knows its own object: each call marks what it puts, so whatever
happened to a request, the mark of the object that is there tells whether it was this call's. Before
the first `create` it was seen that the store refuses to create what exists.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store as Client

from mishards.core.errors import (
    DiskFull,
    ObjectExists,
    ObjectNotFound,
    StorageError,
    StorageUnfit,
)
from mishards.core.runtime import Runtime
from mishards.storage.keys import check_key, check_prefix
from mishards.storage.layers.retry import RetryingStore
from mishards.storage.protocol import ObjectInfo, ObjectStore
from mishards.storage.s3_client import open_client
from mishards.storage.s3_errors import is_refused, is_taken, storage_error
from mishards.storage.s3_url import S3Url, parse_s3_url

T = TypeVar("T")

_MARK = "mishards-create"
_LEAST_BYTES_PER_S = 1_000_000
_PART_BYTES = 8 * 1024 * 1024
_PARTS_AT_ONCE = 4
_PER_PAGE = 1000
_REQUESTS = 16
"""At a time, of one reading of many objects."""
_PER_DELETE = 1000
_CREATE_LIMITS = 2
"""For how many times `timeout_s` a create is tried to be settled."""
_ATTEMPTS = 2
"""A second one for a connection that was forgotten; who asks goes on asking by itself."""
_PAUSE_S = 0.1
_PROBES = "self-test/"
_NUMBER = re.compile(r"\d{20}\Z")
_FAILED = (BaseError, OSError, ValueError)


class _Refused(StorageError):
    """A conditional put did nothing: the object exists, or another request is under way."""


class S3Store:
    """An `ObjectStore` over S3. Repeats nothing but what settles a `create`."""

    def __init__(self, client: Client, uploads: Client, url: S3Url, runtime: Runtime) -> None:
        """`uploads`: for what may be put in parts, each of which has its own time limit."""
        self._client = client
        self._uploads = uploads
        self._url = url
        self._runtime = runtime
        self._limit_s = url.timeout_s
        self._honest = False
        self._probing = asyncio.Lock()

    async def get(self, key: str) -> bytes:
        check_key(key)
        async with self._errors("reading", key):
            found = await self._answered(obstore.get_async(self._client, key))
            body = found.bytes_async()
            return bytes(await self._answered(body, found.meta["size"]))

    async def get_all(self, keys: Sequence[str]) -> list[bytes | None]:
        """Several requests at a time."""
        turns = asyncio.Semaphore(_REQUESTS)

        async def get(key: str) -> bytes | StorageError | None:
            async with turns:
                try:
                    return await self.get(key)
                except ObjectNotFound:
                    return None
                except StorageError as error:
                    return error

        found: list[bytes | None] = []
        for answer in await asyncio.gather(*(get(key) for key in keys)):
            if isinstance(answer, StorageError):
                if not found:
                    raise answer
                break
            found.append(answer)
        return found

    async def get_part(self, key: str, start: int, size_bytes: int) -> bytes:
        check_key(key)
        async with self._errors("reading", key):
            part = obstore.get_range_async(self._client, key, start=start, length=size_bytes)
            return bytes(await self._answered(part, size_bytes))

    async def create(self, key: str, data: bytes) -> None:
        """As the protocol says; after a request whose end is not known it finds out.

        Raises:
            StorageUnfit: the store creates what exists, so no log can be kept in it.
        """
        check_key(key)
        await self.self_test()
        mark = uuid.uuid4().hex
        end_s = self._runtime.monotonic_s() + _CREATE_LIMITS * self._limit_s
        pause_s = _PAUSE_S
        while True:
            failure = await self._create_once(key, data, mark)
            if failure is None:
                return
            found, looked = await self._look(key)
            if found is not None:
                if found == mark:
                    return
                raise ObjectExists(f"object {key!r} exists")
            if looked and isinstance(failure, DiskFull):
                raise failure
            # What is not there now may be on its way: another conditional put decides.
            if self._runtime.monotonic_s() + pause_s >= end_s:
                raise StorageError(f"{failure.message}; it may or may not exist")
            await self._runtime.sleep(pause_s)
            pause_s *= 2

    async def put(self, key: str, data: bytes) -> None:
        check_key(key)
        async with self._errors("writing", key):
            await self._answered(self._put(key, data), memoryview(data).nbytes)

    async def put_file(self, key: str, path: Path) -> None:
        check_key(key)
        try:
            size_bytes = (await self._runtime.blocking(path.stat)).st_size
        except OSError as error:
            raise StorageError(f"cannot read {path} to store {key!r}: {error.strerror}") from error
        async with self._errors("writing", key):
            await self._answered(self._put(key, path), size_bytes)

    async def list(self, prefix: str, start_after: str = "") -> list[ObjectInfo]:
        check_prefix(prefix)
        # Not every store begins where S3 says when folders lie beside objects; among numbered
        # objects there are none.
        folder, _, name = start_after.rpartition("/")
        offset = start_after if _NUMBER.match(name) and prefix == f"{folder}/" else None
        found: list[ObjectInfo] = []
        async with self._errors("listing", prefix):
            pages = obstore.list(
                self._client,
                prefix=prefix.rpartition("/")[0] or None,
                offset=offset,
                chunk_size=_PER_PAGE,
            )
            while True:
                try:
                    page = await self._answered(anext(pages))
                except StopAsyncIteration:
                    break
                found.extend(ObjectInfo(one["path"], one["size"]) for one in page)
        return sorted(
            info for info in found if info.key.startswith(prefix) and info.key > start_after
        )

    async def delete(self, key: str) -> None:
        with suppress(ObjectNotFound):
            await self.delete_all([key])

    async def delete_all(self, keys: Sequence[str]) -> None:
        """A request for each thousand; within one of them the store chooses the order."""
        for key in keys:
            check_key(key)
        for start in range(0, len(keys), _PER_DELETE):
            some = keys[start : start + _PER_DELETE]
            async with self._errors("deleting", some[0]):
                gone: Sequence[str] | str = some[0] if len(some) == 1 else list(some)
                await self._answered(obstore.delete_async(self._client, gone))

    def local_path(self, key: str) -> Path | None:
        return None

    async def close(self) -> None:
        pass

    async def self_test(self) -> None:
        """See, once, that an object is not created a second time.

        Raises:
            StorageUnfit: it is not so.
            StorageError, DiskFull: that cannot be told.
        """
        async with self._probing:
            if self._honest:
                return
            key = f"{_PROBES}{uuid.uuid4().hex}"
            try:
                await self._twice(key)
            finally:
                with suppress(StorageError):
                    await self.delete(key)
            self._honest = True

    async def _twice(self, key: str) -> None:
        if (failure := await self._create_once(key, b"probe", "1")) is not None:
            raise failure
        failure = await self._create_once(key, b"probe", "2")
        if failure is None:
            raise StorageUnfit(
                f"{self._url.name} cannot be used as shared storage: it creates an object that "
                "exists, so it does not honour If-None-Match: *; two writers could acknowledge "
                "different entries of one log"
            )
        if not isinstance(failure, _Refused):
            raise failure

    def _put(self, key: str, data: bytes | Path) -> Awaitable[object]:
        return obstore.put_async(
            self._uploads, key, data, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE
        )

    async def _create_once(
        self, key: str, data: bytes, mark: str
    ) -> StorageError | DiskFull | None:
        """One conditional put; None when it succeeded, else why it is not known to have.

        Raises:
            StorageError, DiskFull: the store certainly did nothing, and will not.
        """
        try:
            await self._answered(
                obstore.put_async(
                    self._client,
                    key,
                    data,
                    attributes={_MARK: mark},
                    mode="create",
                    use_multipart=False,
                ),
                memoryview(data).nbytes,
            )
        except _FAILED as error:
            if is_taken(error):
                return _Refused(f"creating object {key!r} was refused")
            failure = storage_error(f"creating object {key!r} in {self._url.name}", error)
            if is_refused(error):
                raise failure from error
            return failure
        return None

    async def _look(self, key: str) -> tuple[str | None, bool]:
        """The mark of the object that is there, empty where it has none, None where there is no
        object; and whether that could be seen."""
        try:
            async with self._errors("reading", key):
                found = await self._answered(
                    obstore.get_async(self._client, key, options={"head": True})
                )
        except ObjectNotFound:
            return None, True
        except StorageError:
            return None, False
        return str(found.attributes.get(_MARK, "")), True

    async def _answered(self, work: Awaitable[T], size_bytes: int = 0) -> T:
        """What a request gives, within the time that so many bytes may take."""
        limit_s = self._limit_s + size_bytes / _LEAST_BYTES_PER_S

        async def done() -> T:
            return await work

        try:
            return await self._runtime.timeout(done(), limit_s)
        except TimeoutError as error:
            raise TimeoutError(f"no answer within {limit_s:g} s") from error

    @asynccontextmanager
    async def _errors(self, doing: str, key: str) -> AsyncIterator[None]:
        """Turn obstore's errors into the project's, naming the object."""
        try:
            yield
        except _FAILED as error:
            raise storage_error(f"{doing} object {key!r} in {self._url.name}", error) from error


def open_s3(url: str, runtime: Runtime) -> ObjectStore:
    """The store of an `s3://bucket/prefix` URL, see `s3_url`; failed requests are repeated.

    Raises:
        ConfigError: the URL, or a file that it names, cannot be used.
    """
    parsed = parse_s3_url(url)
    part_s = parsed.timeout_s + _PARTS_AT_ONCE * _PART_BYTES / _LEAST_BYTES_PER_S
    uploads = open_client(parsed, runtime, part_s)
    store = S3Store(open_client(parsed, runtime), uploads, parsed, runtime)
    return RetryingStore(store, runtime, attempts=_ATTEMPTS, first_pause_s=_PAUSE_S)
