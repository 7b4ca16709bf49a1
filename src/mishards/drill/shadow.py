"""The drill's own collection, and its clients at work on it, through the cluster's proxies.

Invariants: nothing else than the collection `_drill_<id>` is written or dropped. All methods block:
call them off the loop.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import grpc
from pymilvus import MilvusClient, MilvusException

from mishards.core.errors import Unavailable
from mishards.metadata.models import ConsistencyLevel
from mishards.testing.recorded import Workload

PREFIX = "_drill_"
LEVELS = (
    ConsistencyLevel.STRONG,
    ConsistencyLevel.SESSION,
    ConsistencyLevel.BOUNDED,
    ConsistencyLevel.EVENTUALLY,
)
_SEGMENTS = 3
_CALLS_PER_SEGMENT = 10
_TIMEOUT_S = 10.0
_DROP_S = 20.0
_PAUSE_S = 0.5


class Shadow:
    """One collection, from `create` to `drop`."""

    def __init__(self, uris: Sequence[str], authority: str, token: str, seed: int) -> None:
        """`authority`: PEM file that proxies' certificates are verified with; empty for the
        system's."""
        self.name = f"{PREFIX}{token}"
        self.work = Workload(uris, seed, _TIMEOUT_S, self.name)
        self.work.levels = LEVELS
        if any(uri.startswith("https://") for uri in uris):
            self.work.options = {
                "secure": True,
                **({"server_pem_path": authority} if authority else {}),
            }
        self._running = ExitStack()
        self._ended = threading.Event()

    def _connect(self, uri: str) -> MilvusClient:
        return MilvusClient(uri, **self.work.options)

    def create(self) -> None:
        """Make and load it, empty.

        Raises:
            Unavailable: the cluster does not take it.
        """
        with _told("the drill's collection cannot be made"):
            self.work.create()

    def fill(self) -> None:
        """Some rows, in several sealed segments. Raises as `create`."""
        with _told("no proxy answers"):
            writer, client = self.work.client("first"), self._connect(self.work.uris[0])
        try:
            for _ in range(_SEGMENTS):
                for _ in range(_CALLS_PER_SEGMENT):
                    if self._ended.is_set():
                        return
                    writer.insert()
                with _told("the drill's collection cannot be flushed"):
                    client.flush(self.name, timeout=60)
        finally:
            client.close()
            writer.close()

    def start(self, clients: int, pause_s: float) -> None:
        """Let clients work from now on, each with about such a pause between its calls."""
        self._running.enter_context(self.work.running(clients, pause_s))

    def interrupt(self) -> None:
        """Let `fill` come to an end."""
        self._ended.set()

    def stop(self) -> None:
        """Let the clients finish. Idempotent."""
        self._running.close()

    def drop(self) -> str:
        """Drop it, whatever state it is in, by whichever proxy; where that fails, why."""
        deadline_s = time.monotonic() + _DROP_S
        for number in itertools.count():
            uri = self.work.uris[number % len(self.work.uris)]
            try:
                client = self._connect(uri)
                try:
                    client.drop_collection(self.name, timeout=_TIMEOUT_S)
                    return ""
                finally:
                    client.close()
            except (MilvusException, grpc.RpcError) as error:
                if time.monotonic() > deadline_s:
                    return str(error)
            time.sleep(_PAUSE_S)
        raise AssertionError("unreachable")


@contextmanager
def _told(what: str) -> Iterator[None]:
    """What the client library raises, as an error of the project's own."""
    try:
        yield
    except (MilvusException, grpc.RpcError) as error:
        raise Unavailable(f"{what}: {error}") from error
