"""An HTTP server on the loopback that answers as a Consul agent does, see `consul_state`.

Invariants: it keeps its port and its state over `stop`, `kill` and `start`; after `close` no thread
and no socket of it is left; blocking queries wait up to what was asked, and a sixteenth more.
"""

from __future__ import annotations

import json
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from mishards.testing.consul_kv import Refused
from mishards.testing.consul_state import ConsulState, seconds
from mishards.testing.local_cluster import free_port

_LOOK_S = 0.005
_LONGEST_WAIT_S, _USUAL_WAIT_S = 600.0, 300.0


class ConsulServer:
    """An `Outage`; a context manager.

    Attributes:
        state: what it keeps; change it under `lock` only.
        token: requests without it are forbidden; empty for none.
        requests: method and path, without the query, of all requests so far.
    """

    def __init__(
        self,
        monotonic_s: Callable[[], float] = time.monotonic,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Starts nothing.

        Args:
            tls: what it serves TLS with; None for plain HTTP.
        """
        self.tls = tls
        self.port = free_port()
        self.lock = threading.Lock()
        self.state = ConsulState(monotonic_s)
        self.token = ""
        self.requests: list[tuple[str, str]] = []
        self._thaw = threading.Event()
        self._thaw.set()
        self._ended = threading.Event()
        self._listener: _Listener | None = None
        self._thread: threading.Thread | None = None

    def database(self, name: str) -> str:
        """The URL of a part that nobody used before."""
        return f"consul://127.0.0.1:{self.port}/{name}"

    def start(self) -> Self:
        """Listen, on the same port and with the same state."""
        self._ended.clear()
        self._listener = listener = _Listener(self)
        self._thread = threading.Thread(
            target=listener.serve_forever, kwargs={"poll_interval": 0.02}, name="consul"
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Break all connections, and listen no more."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        self.thaw()
        self._ended.set()
        listener.shutdown()
        listener.break_all()
        listener.server_close()
        assert self._thread is not None
        self._thread.join()

    kill = stop
    close = stop

    def freeze(self) -> None:
        """Take connections and answer nothing."""
        self._thaw.clear()

    def thaw(self) -> None:
        """Answer again, also what was asked meanwhile."""
        self._thaw.set()

    def answer(self, method: str, target: str, body: bytes, token: str) -> tuple[int, bytes, int]:
        """Status, body and index of the answer to a request; blocking queries wait here."""
        self._thaw.wait()
        parts = urlsplit(target)
        path = [unquote(part) for part in parts.path.removeprefix("/v1/").split("/")]
        query = {key: values[0] for key, values in parse_qs(parts.query, True).items()}
        self.requests.append((method, parts.path))
        if self.token and token != self.token:
            return 403, b"Permission denied", 0
        try:
            return self._route(method, path, query, body)
        except Refused as error:
            return error.status, error.words.encode(), 0

    def _route(
        self, method: str, path: list[str], query: dict[str, str], body: bytes
    ) -> tuple[int, bytes, int]:
        state = self.state
        match (method, *path):
            case ("GET", "health", "service", name):
                found, index = self._when_changed(query, lambda: state.instances(name))
                if query.get("filter") == 'Service.ID == ""':
                    found = []
                elif "filter" in query:
                    raise Refused(400, f"this server cannot filter by {query['filter']!r}")
                if "passing" in query:
                    found = [o for o in found if all(c["Status"] == "passing" for c in o["Checks"])]
                return 200, _json(found), index
            case ("GET", "kv", *key):
                name = "/".join(key)
                entry, index = self._when_changed(
                    query, lambda: (state.keys.get(name), state.keys.index_of(name))
                )
                return (
                    (404, b"", index) if entry is None else (200, _json([entry.told(name)]), index)
                )
            case ("PUT" | "DELETE", *_):
                with self.lock:
                    state.pass_time()
                    return 200, _json(self._write(method, path, query, body)), 0
        raise Refused(405, f"method {method} is not allowed for {'/'.join(path)}")

    def _write(self, method: str, path: list[str], query: dict[str, str], body: bytes) -> Any:
        state = self.state
        match (method, *path):
            case ("PUT", "agent", "service", "register"):
                return state.register(json.loads(body))
            case ("PUT", "agent", "service", "deregister", service_id):
                return state.deregister(service_id)
            case ("PUT", "agent", "check", "pass", check_id):
                return state.pass_check(check_id)
            case ("PUT", "session", "create"):
                return {"ID": state.create_session(json.loads(body or b"{}"))}
            case ("PUT", "session", "renew", session_id):
                return state.renew_session(session_id)
            case ("PUT", "session", "destroy", session_id):
                state.destroy_session(session_id)
                return True
            case ("PUT", "txn"):
                return state.keys.change(json.loads(body))
            case ("PUT", "kv", *key):
                return state.keys.put("/".join(key), body, **query)
            case ("DELETE", "kv", *key):
                state.keys.delete("/".join(key))
                return True
        raise Refused(404, f"no such endpoint: {'/'.join(path)}")

    def _when_changed(
        self, query: dict[str, str], look: Callable[[], tuple[Any, int]]
    ) -> tuple[Any, int]:
        """What `look` finds; with an index in the query, once it has another or time is up.

        As in Consul, an index that lies ahead of the present one waits in vain: it is of another
        past, and who asked has to begin anew.
        """
        last = int(query.get("index", 0))
        wait_s = min(seconds(query["wait"]), _LONGEST_WAIT_S) if "wait" in query else _USUAL_WAIT_S
        end_s = time.monotonic() + wait_s + random.uniform(0, wait_s / 16)
        while True:
            with self.lock:
                self.state.pass_time()
                found, index = look()
            over = time.monotonic() >= end_s or self._ended.is_set()
            if not last or index > last or over:
                return found, index
            time.sleep(_LOOK_S)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Listener(ThreadingHTTPServer):
    """Threads that answer, and the connections that they have."""

    allow_reuse_address = True
    # Closing waits for the threads; every connection is broken before.
    daemon_threads = False

    def __init__(self, server: ConsulServer) -> None:
        self.consul = server
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(("127.0.0.1", server.port), _Handler)
        if server.tls is not None:
            self.socket = server.tls.wrap_socket(self.socket, server_side=True)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def break_all(self) -> None:
        with self._guard:
            for one in self._open:
                one.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is no news."""


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: _Listener

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = self.headers.get("X-Consul-Token", "")
        status, answer, index = self.server.consul.answer(self.command, self.path, body, token)
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        if index:
            self.send_header("X-Consul-Index", str(index))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = _handle  # noqa: N815 - called by name
    do_PUT = _handle  # noqa: N815
    do_DELETE = _handle  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Requests are counted instead."""


def _json(value: Any) -> bytes:
    return b"" if value is None else json.dumps(value).encode()
