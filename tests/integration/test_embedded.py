"""`mishards.start`: inside a program, several times, under a running loop, without a trace."""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from pymilvus import MilvusClient

import mishards
from mishards.core.errors import ConfigError, DataInUse
from mishards.testing.client_rows import connected, contents, create, insert, nearest, vector_of
from mishards.testing.local_cluster import wait_for


@pytest.fixture
def temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The system's folder for temporary files, empty afterwards."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if "mishards" in thread.name}


def open_files() -> dict[str, str]:
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        if link.is_symlink():
            found[link.name] = str(link.readlink())
    return found


def children() -> set[str]:
    return set(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())


@contextmanager
def nothing_left(folder: Path) -> Iterator[None]:
    """Threads, processes and open files below the folder are the same afterwards."""
    gc.collect()
    files, processes, before = open_files(), children(), threads()
    yield
    gc.collect()
    wait_for(lambda: threads() <= before, "its threads have ended", patience_s=5)
    assert children() == processes
    opened = {n: name for n, name in open_files().items() if files.get(n) != name}
    ours = {n: name for n, name in opened.items() if name.startswith(str(folder))}
    assert ours == {}


def use(client: MilvusClient) -> None:
    create(client, "rows", "HNSW")
    insert(client, "rows", range(100))
    client.flush("rows")
    insert(client, "rows", range(100, 120))
    wait_for(lambda: not client.describe_index("rows", "vector")["pending_index_rows"], "the index")
    for key in (3, 110):
        assert nearest(client, "rows", vector_of(key), limit=1) == [key]


@pytest.mark.usefixtures("temp")
def test_a_temporary_instance_leaves_nothing_behind(tmp_path: Path) -> None:
    with nothing_left(tmp_path):
        with mishards.start(writer__build_min_rows=10) as server, connected(server.uri) as client:
            use(client)
            data = Path(server.data)
            assert data.is_dir()
        assert not data.exists()


@pytest.mark.usefixtures("temp")
def test_files_and_sockets_do_not_grow_with_the_number_of_instances() -> None:
    def once() -> int:
        with mishards.start(writer__build_min_rows=10) as server, connected(server.uri) as client:
            insert_some(client)
        gc.collect()
        return len(open_files())

    once()
    first = once()
    wait_for(lambda: once() <= first, "no more files are open than after the first instance")


def insert_some(client: MilvusClient) -> None:
    create(client, "rows", load=False)
    insert(client, "rows", range(10))


@pytest.mark.usefixtures("temp")
def test_several_instances_at_a_time_are_independent(tmp_path: Path) -> None:
    with nothing_left(tmp_path), ExitStack() as stack:
        servers = [stack.enter_context(mishards.start(tmp_path / str(n))) for n in range(3)]
        assert len({server.uri for server in servers}) == 3
        for number, server in enumerate(servers):
            with connected(server.uri) as client:
                create(client, "rows")
                insert(client, "rows", range(number + 1))
        for number, server in enumerate(servers):
            with connected(server.uri) as client:
                assert contents(client, "rows") == dict.fromkeys(range(number + 1), 0)


@pytest.mark.usefixtures("temp")
def test_it_works_under_a_running_event_loop(tmp_path: Path) -> None:
    async def notebook() -> list[int]:
        with mishards.start(tmp_path / "data") as server, connected(server.uri) as client:
            create(client, "rows")
            insert(client, "rows", range(50))
            return nearest(client, "rows", vector_of(7), limit=1)

    with nothing_left(tmp_path):
        assert asyncio.run(notebook()) == [7]


@pytest.mark.usefixtures("temp")
def test_a_folder_is_opened_again_and_refused_twice(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with nothing_left(tmp_path):
        with mishards.start(data) as server, connected(server.uri) as client:
            create(client, "rows")
            insert(client, "rows", range(20))
            with pytest.raises(DataInUse, match=rf"is in use by process {os.getpid()}"):
                mishards.start(data)
            assert len(contents(client, "rows")) == 20
        with mishards.start(data) as server, connected(server.uri) as client:
            assert len(contents(client, "rows")) == 20


@pytest.mark.usefixtures("temp")
def test_closing_twice_is_harmless_and_closing_ends_the_port() -> None:
    server = mishards.start()
    with connected(server.uri) as client:
        assert client.list_collections() == []
    server.close()
    server.close()
    port = int(server.uri.rpartition(":")[2])
    with mishards.start(port=port) as again:
        assert again.uri == server.uri


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"writer__flush_age": 1}, "unknown configuration key 'writer.flush_age'; did you mean"),
        ({"port": "many"}, "proxy.port = 'many'"),
        ({"cluster__metadata": "nosql://x"}, "nosql"),
    ],
)
def test_a_wrong_option_is_a_clear_error_and_leaves_nothing(
    temp: Path, tmp_path: Path, options: dict[str, object], said: str
) -> None:
    with nothing_left(tmp_path), pytest.raises(ConfigError, match=said):
        mishards.start(**options)  # type: ignore[arg-type]
    assert list(temp.iterdir()) == []


@pytest.mark.usefixtures("temp")
def test_a_port_in_use_is_a_clear_error(tmp_path: Path) -> None:
    with nothing_left(tmp_path), mishards.start(tmp_path / "one") as server:
        port = int(server.uri.rpartition(":")[2])
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}"):
            mishards.start(tmp_path / "two", port=port)
        with mishards.start(tmp_path / "two"):
            pass
