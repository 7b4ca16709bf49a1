"""S3 over TLS: a store behind what ends TLS, checked by the authority that its URL names."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from mishards.core.errors import ObjectExists, StorageError
from mishards.core.runtime import SystemRuntime
from mishards.storage.protocol import ObjectStore
from mishards.storage.registry import open_store
from mishards.testing.certificates import Authority
from mishards.testing.services.seaweedfs import SeaweedFs

Case = Callable[[ObjectStore], Awaitable[None]]


@asynccontextmanager
async def tls_front(files: ssl.SSLContext, port: int) -> AsyncIterator[str]:
    """An endpoint that ends TLS before a server of this machine."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, inner[1]), copy(inner[0], writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=files)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def on(seaweedfs: SeaweedFs, folder: Path, ca: str, case: Case) -> None:
    """Run a case on an empty store whose server shows a certificate of the authority `server`."""
    files = Authority(folder, "server").issue()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)

    async def main() -> None:
        runtime = SystemRuntime()
        async with tls_front(context, seaweedfs.port) as endpoint:
            store = open_store(f"{seaweedfs.data(uuid4().hex, endpoint)}{ca}", runtime)
            try:
                await case(store)
            finally:
                await store.close()
        await runtime.close()

    asyncio.run(main())


def test_objects_are_created_once_read_and_listed(seaweedfs: SeaweedFs, tmp_path: Path) -> None:
    async def case(store: ObjectStore) -> None:
        await store.create("log/0/1", b"first")
        with pytest.raises(ObjectExists):
            await store.create("log/0/1", b"second")
        assert await store.get("log/0/1") == b"first"
        large = bytes(range(256)) * 8_192
        await store.put("large", large)
        assert await store.get_part("large", 1_000_000, 300) == large[1_000_000:1_000_300]
        assert [found.key for found in await store.list("")] == ["large", "log/0/1"]

    on(seaweedfs, tmp_path, f"&ca={tmp_path}/server-ca.pem", case)


@pytest.mark.parametrize("other", [False, True])
def test_a_server_of_another_authority_is_not_spoken_to(
    other: bool, seaweedfs: SeaweedFs, tmp_path: Path
) -> None:
    ca = f"&ca={Authority(tmp_path, 'other').ca}" if other else ""

    async def case(store: ObjectStore) -> None:
        with pytest.raises(StorageError):
            await store.get("anything")

    on(seaweedfs, tmp_path, f"{ca}&timeout_s=1", case)
