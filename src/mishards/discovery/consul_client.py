"""Requests to the HTTP API of a Consul agent.

Invariants: every wait ends; nothing is sent twice; what Consul answers and no caller decides about
is `Unavailable`, with Consul's words and without the token.

Source: Consul, HTTP API, version 1.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import urllib3
from urllib3.util import Timeout

from mishards.core.errors import Unavailable
from mishards.discovery.consul_url import ConsulUrl

ANSWER_S = 2.0
_CONNECT_S = 2.0
_OK, _FORBIDDEN = 200, 403
_CONNECTIONS = 8


class Answer(msgspec.Struct, frozen=True):
    """What Consul answered.

    Attributes:
        index: rises with what was asked for; at least 1.
    """

    status: int
    body: bytes
    index: int = 1

    @property
    def ok(self) -> bool:
        return self.status == _OK


class ConsulClient:
    """Connections to one agent. Blocking; any thread may call. Raises `Unavailable` without one."""

    def __init__(self, url: ConsulUrl) -> None:
        """Connects at the first call."""
        self.name = url.name
        self._headers = {"X-Consul-Token": url.password.reveal()} if url.password else {}
        ((host, port),) = url.endpoints
        options: dict[str, Any] = {"maxsize": _CONNECTIONS, "retries": False}
        self._pool = (
            urllib3.HTTPSConnectionPool(
                host,
                port,
                ca_certs=url.ca,
                cert_file=url.cert or None,
                key_file=url.key or None,
                **options,
            )
            if url.ca
            else urllib3.HTTPConnectionPool(host, port, **options)
        )

    def get(
        self, *path: str, allowed: Collection[int] = (), wait_s: float = 0.0, **query: object
    ) -> Answer:
        """Read `/v1/<path>`.

        Args:
            path: parts of the path, as they are.
            allowed: what may be answered besides 200.
            wait_s: with `index`, how long to wait for a change.
        """
        if wait_s:
            query["wait"] = f"{round(wait_s * 1000)}ms"
        return self._ask("GET", path, query, None, allowed, wait_s)

    def put(
        self, *path: str, body: object = None, allowed: Collection[int] = (), **query: object
    ) -> Answer:
        """Write `/v1/<path>`, the body as JSON. `Unavailable` leaves open whether it was done."""
        data = None if body is None else msgspec.json.encode(body)
        return self._ask("PUT", path, query, data, allowed, 0.0)

    def decode(self, answer: Answer, kind: Any) -> Any:
        """The JSON of an answer as that type."""
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Unavailable(f"{self.name} answers what is no answer: {error}") from error

    def close(self) -> None:
        """Close the connections that no call is using."""
        self._pool.close()

    def _ask(
        self,
        method: str,
        path: Collection[str],
        query: dict[str, object],
        body: bytes | None,
        allowed: Collection[int],
        wait_s: float,
    ) -> Answer:
        target = "/v1/" + "/".join(quote(part, safe="") for part in path)
        if query:
            target += "?" + urlencode(query)
        try:
            found = self._pool.request(
                method,
                target,
                body=body,
                headers=self._headers,
                redirect=False,
                # Consul adds up to a sixteenth to what it is asked to wait.
                timeout=Timeout(connect=_CONNECT_S, read=wait_s * 17 / 16 + ANSWER_S),
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unavailable(f"{self.name} cannot be used: {_reason(error)}") from error
        answer = Answer(found.status, found.data, _index(found.headers.get("X-Consul-Index")))
        if answer.ok or answer.status in allowed:
            return answer
        words = found.data[:200].decode(errors="replace").strip()
        if answer.status == _FORBIDDEN:
            words = "its ACL does not allow it" + (f": {words}" if words else "")
        raise Unavailable(f"{self.name} cannot be used: {words or found.status}")


def _index(text: str | None) -> int:
    """An index of 0 would be no wait at all."""
    return max(int(text), 1) if text and text.isdigit() else 1


def _reason(error: Exception) -> str:
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "no answer in time"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__
