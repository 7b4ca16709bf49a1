"""The TCP fault proxy itself: what it promises of delays, cuts, resets and silence."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from mishards.testing.fault_proxy import FaultNetwork, FaultProxy
from mishards.testing.local_cluster import wait_for


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def answer(connection: socket.socket) -> None:
        with closing(connection):
            connection.settimeout(0.02)
            while not stop.is_set():
                try:
                    data = connection.recv(65536)
                    if not data:
                        return
                    connection.sendall(data)
                except TimeoutError:
                    continue
                except OSError:
                    return

    def accept() -> None:
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            threads.append(threading.Thread(target=answer, args=(connection,)))
            threads[-1].start()

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(0.02)
        threads.append(threading.Thread(target=accept))
        threads[0].start()
        yield listener.getsockname()[1]
        stop.set()
        for thread in threads:
            thread.join()


@pytest.fixture
def link(echo: int) -> Iterator[FaultProxy]:
    with FaultNetwork() as network:
        yield network.link("echo", "127.0.0.1", echo)


def connect(link: FaultProxy) -> socket.socket:
    found = socket.create_connection(("127.0.0.1", link.port), timeout=10)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return found


def exchange(connection: socket.socket, data: bytes = b"hello") -> float:
    """Send, get the same back, and give the seconds it took."""
    began = time.monotonic()
    connection.sendall(data)
    got = b""
    while len(got) < len(data):
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError("closed")
        got += piece
    assert got == data
    return time.monotonic() - began


def test_what_passes_is_unchanged_and_in_order(link: FaultProxy) -> None:
    link.there.delay_s, link.there.jitter_s = 0.01, 0.01
    data = bytes(range(256)) * 2000
    with closing(connect(link)) as connection:
        sender = threading.Thread(target=connection.sendall, args=(data,))
        sender.start()
        got = b""
        while len(got) < len(data):
            got += connection.recv(65536)
        sender.join()
    assert got == data


def test_delays_are_per_direction(link: FaultProxy) -> None:
    with closing(connect(link)) as connection:
        link.back.delay_s = 0.3
        assert exchange(connection) >= 0.3
        link.there.delay_s = 0.3
        assert exchange(connection) >= 0.6
        link.heal()
        assert exchange(connection) < 0.3


def test_a_cut_holds_back_and_its_end_delivers(link: FaultProxy) -> None:
    with closing(connect(link)) as connection:
        exchange(connection)
        for flow in (link.there, link.back):
            flow.cut = True
            connection.sendall(b"held")
            connection.settimeout(0.2)
            with pytest.raises(TimeoutError):
                connection.recv(4)
            connection.settimeout(10)
            flow.cut = False
            assert connection.recv(4) == b"held"


def test_resets_are_seen_by_both_ends(link: FaultProxy) -> None:
    with closing(connect(link)) as connection:
        exchange(connection)
        link.reset()
        with pytest.raises(ConnectionError):
            exchange(connection)
    link.there.resets = 1.0
    with closing(connect(link)) as connection, pytest.raises(ConnectionError):
        exchange(connection)
    link.heal()
    link.accepts = "reset"
    with pytest.raises(ConnectionError), closing(connect(link)) as connection:
        exchange(connection)


def test_a_half_open_connection_says_nothing(link: FaultProxy) -> None:
    link.accepts = "silent"
    with closing(connect(link)) as connection:
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            exchange(connection)


def test_forgotten_connections_stay_silent_and_later_ones_work(link: FaultProxy) -> None:
    with closing(connect(link)) as old:
        exchange(old)
        link.forget()
        old.settimeout(0.2)
        with pytest.raises(TimeoutError):
            exchange(old)
        with closing(connect(link)) as later:
            exchange(later)
        link.heal()
        with pytest.raises(TimeoutError):
            old.recv(1)


def test_a_limit_of_throughput_is_kept(link: FaultProxy) -> None:
    link.there.bytes_per_s = 1_000_000
    with closing(connect(link)) as connection:
        assert exchange(connection, bytes(200_000)) >= 0.15


def test_the_end_of_one_side_reaches_the_other(link: FaultProxy) -> None:
    with closing(connect(link)) as connection:
        exchange(connection)
        assert (link.accepted, link.open_connections) == (1, 1)
    wait_for(lambda: link.open_connections == 0, "the far end has ended too")
