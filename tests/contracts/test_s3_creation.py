"""What a create on S3 comes to when requests and answers get lost, and where no log can be kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from mishards.core.errors import DiskFull, ObjectExists, StorageError, StorageUnfit
from mishards.core.runtime import SystemRuntime
from mishards.storage.protocol import ObjectStore
from mishards.storage.registry import open_store
from mishards.testing.expect import raises
from mishards.testing.s3_server import Behaviour, S3Server, Stored

KEY = "log/0/00000000000000000001"
PATH = f"/bucket/p/{KEY}"
PATIENT, IMPATIENT = "30", "0.3"

Case = Callable[[ObjectStore], Awaitable[None]]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "anybody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "anything")
    with S3Server() as found:
        yield found


def on(server: S3Server, case: Case, timeout_s: str = PATIENT) -> None:
    """Run a case on a store that has found its server fit; what it did to see that is forgotten."""

    async def main() -> None:
        runtime = SystemRuntime()
        store = open_store(f"{server.url}&timeout_s={timeout_s}", runtime)
        try:
            if server.conditions:
                script = list(server.script)
                server.script.clear()
                await store.create("warm-up", b"")
                server.puts.clear()
                server.script.extend(script)
            await case(store)
        finally:
            await store.close()
            await runtime.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("script", "puts"),
    [
        (["answer lost"], 1),
        (["fails done"], 1),
        (["lost"], 2),
        (["fails"], 2),
        (["conflict"], 2),
        (["late"], 1),
        (["lost", "conflict", "answer lost"], 3),
        (["late", "fails"], 1),
    ],
)
def test_the_end_of_a_create_is_found_out(
    server: S3Server, script: list[Behaviour], puts: int
) -> None:
    server.script.extend(script)

    async def case(store: ObjectStore) -> None:
        await store.create(KEY, b"mine")
        assert server.objects[PATH].data == b"mine"
        assert len(server.puts) == puts
        await raises(ObjectExists, store.create(KEY, b"mine"))

    on(server, case)


@pytest.mark.parametrize("how", ["lost", "fails", "conflict", "works"])
def test_an_object_of_another_is_told_from_ones_own(server: S3Server, how: Behaviour) -> None:
    """Though its bytes are the same."""
    server.script.append(how)

    async def case(store: ObjectStore) -> None:
        server.objects[PATH] = Stored(b"mine", "another's mark")
        await raises(ObjectExists, store.create(KEY, b"mine"))
        assert server.objects[PATH].mark == "another's mark"

    on(server, case)


def test_an_answer_that_never_comes_is_not_waited_for(server: S3Server) -> None:
    server.script.append("silent")

    async def case(store: ObjectStore) -> None:
        await store.create(KEY, b"mine")
        assert len(server.puts) == 1

    on(server, case, IMPATIENT)


def test_what_cannot_be_found_out_is_said(server: S3Server) -> None:
    server.script.extend(["conflict"] * 1000)

    async def case(store: ObjectStore) -> None:
        error = await raises(StorageError, store.create(KEY, b"mine"))
        assert type(error) is StorageError
        assert error.retriable
        assert KEY in error.message
        assert "may or may not exist" in error.message

    on(server, case, IMPATIENT)


def test_a_full_store_is_named_and_not_asked_again(server: S3Server) -> None:
    server.script.append("full")

    async def case(store: ObjectStore) -> None:
        error = await raises(DiskFull, store.create(KEY, b"mine"))
        assert KEY in error.message
        assert len(server.puts) == 1

    on(server, case)


def test_a_refusal_is_not_asked_again(server: S3Server) -> None:
    server.script.append("forbidden")

    async def case(store: ObjectStore) -> None:
        error = await raises(StorageError, store.create(KEY, b"mine"))
        assert "403" in error.message
        assert len(server.puts) == 1

    on(server, case)


def test_a_store_that_ignores_the_condition_is_refused(server: S3Server) -> None:
    server.conditions = False

    async def case(store: ObjectStore) -> None:
        for _ in range(2):
            error = await raises(StorageUnfit, store.create(KEY, b"mine"))
            assert "If-None-Match" in error.message
        assert server.objects == {}

    on(server, case)


def test_a_create_that_cannot_be_tried_says_why(server: S3Server) -> None:
    server.script.extend(["fails"] * 2)
    server.conditions = True

    async def main() -> None:
        runtime = SystemRuntime()
        store = open_store(server.url, runtime)
        error = await raises(StorageError, store.create(KEY, b"mine"))
        assert "500" in error.message
        await store.close()
        await runtime.close()

    asyncio.run(main())
    assert PATH not in server.objects
