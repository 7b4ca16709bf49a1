"""Takes what Alertmanager sends, in a thread of this process.

Invariant: notices are kept in the order in which they came.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

from mishards.testing.local_cluster import wait_for


class Notice(NamedTuple):
    """One alert, as it was told of.

    Attributes:
        name: of the alert.
        status: `firing` or `resolved`.
    """

    name: str
    status: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


class Webhook:
    """A receiver on a free port of the loopback; a context manager.

    Attributes:
        notices: all that came so far.
    """

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self.notices))
        self._thread = threading.Thread(target=self._server.serve_forever, name="webhook")

    @property
    def url(self) -> str:
        """Where to send notices."""
        return f"http://127.0.0.1:{self._server.server_port}/"

    def expect(self, name: str, status: str = "firing", *, after: int = 0, **labels: str) -> Notice:
        """The first notice of that alert, status and labels; of those `after` so many others.

        Raises:
            TimeoutError: none came; says what did.
        """

        def came() -> Notice | None:
            for notice in self.notices[after:]:
                fits = (notice.name, notice.status) == (name, status)
                if fits and labels.items() <= notice.labels.items():
                    return notice
            return None

        try:
            found = wait_for(came, f"{name} {status}")
        except TimeoutError as error:
            told = [(one.name, one.status) for one in self.notices[after:]]
            raise TimeoutError(f"{error}; there came: {told}") from None
        assert found is not None
        return found

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(notices: list[Notice]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body: Any = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            for alert in body["alerts"]:
                name, labels = alert["labels"]["alertname"], alert["labels"]
                notices.append(Notice(name, alert["status"], labels, alert["annotations"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """The tests' output is for the tests."""

    return Handler
