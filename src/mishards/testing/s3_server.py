"""A server that speaks as much of S3 as creating objects takes, and misbehaves as it is told.

Invariants: on the loopback, without TLS, and it looks at no signature; what it is told happens to
the next conditional puts, one after another, and to nothing else.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal, NamedTuple, Self
from urllib.parse import urlsplit

Behaviour = Literal[
    "works", "answer lost", "lost", "late", "silent", "conflict", "fails", "fails done", "full",
    "forbidden",
]  # fmt: skip
"""What becomes of a conditional put: `answer lost`: done, and the connection ends; `lost`: not
done, likewise; `late`: likewise, but done before the next request is; `silent`: done, and no answer
ever comes; `conflict`: 409, not done; `fails`: 500, not done; `fails done`: 500, done; `full`: 507;
`forbidden`: 403."""

_STATUS = {"conflict": 409, "fails": 500, "fails done": 500, "full": 507, "forbidden": 403}
_DONE = ("works", "answer lost", "silent", "fails done")
_KEY = re.compile("<Key>([^<]*)</Key>")
_MARK = "x-amz-meta-mishards-create"


class Stored(NamedTuple):
    data: bytes
    mark: str


class S3Server:
    """Runs on threads of its own; a context manager.

    Attributes:
        objects: by path, `/bucket/key`.
        script: what becomes of the next conditional puts; when it is empty, they work.
        conditions: whether it looks at `If-None-Match` at all.
        puts: paths of the conditional puts so far, whatever became of them.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Stored] = {}
        self.script: deque[Behaviour] = deque()
        self.conditions = True
        self.puts: list[str] = []
        self._late: list[tuple[str, Stored]] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="S3 server"
        )

    @property
    def url(self) -> str:
        """Of a part of a bucket."""
        return f"s3://bucket/p?endpoint=http://127.0.0.1:{self._server.server_port}"

    def put(self, path: str, stored: Stored, conditional: bool) -> bool:
        """Store an object; False where one is there that is not to be replaced."""
        if conditional and self.conditions and path in self.objects:
            return False
        self.objects[path] = stored
        return True

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                stored = Stored(data, self.headers.get(_MARK, ""))
                conditional = self.headers.get("If-None-Match") == "*"
                with server._lock:
                    server._arrive()
                    how = server._next(self._path) if conditional else "works"
                    if how == "late":
                        server._late.append((self._path, stored))
                    stands = how not in _DONE or server.put(self._path, stored, conditional)
                if how == "silent":
                    server._over.wait()
                if how in ("silent", "answer lost", "lost", "late"):
                    self.close_connection = True
                else:
                    self._answer(_STATUS.get(how, 200) if stands else 412)

            def do_HEAD(self) -> None:
                self._give(with_body=False)

            def do_GET(self) -> None:
                self._give(with_body=True)

            def do_POST(self) -> None:
                """A removal of many objects."""
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                keys = _KEY.findall(body)
                with server._lock:
                    for key in keys:
                        server.objects.pop(f"{self._path.rstrip('/')}/{key}", None)
                gone = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
                self._answer(200, f"<DeleteResult>{gone}</DeleteResult>".encode())

            @property
            def _path(self) -> str:
                return urlsplit(self.path).path

            def _give(self, *, with_body: bool) -> None:
                with server._lock:
                    server._arrive()
                    found = server.objects.get(self._path)
                if found is None:
                    self._answer(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(found.data)))
                self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
                self.send_header("ETag", '"x"')
                self.send_header(_MARK, found.mark)
                self.end_headers()
                if with_body:
                    self.wfile.write(found.data)

            def _answer(self, status: int, body: bytes = b"") -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("ETag", '"x"')
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler

    def _next(self, path: str) -> Behaviour:
        self.puts.append(path)
        return self.script.popleft() if self.script else "works"

    def _arrive(self) -> None:
        """What was late is there now."""
        while self._late:
            self.put(*self._late.pop(0), conditional=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
