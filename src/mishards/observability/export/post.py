"""Posts bodies to a collector over HTTP or HTTPS.

Invariants: every post ends in time; nothing is sent twice; redirects are not followed, so headers
with tokens go to nobody else.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import urllib3
from urllib3.util import Timeout

from mishards.core.errors import SystemFault, Unavailable
from mishards.observability.export.endpoint import Endpoint, require_ca
from mishards.observability.export.protocol import ExporterSettings

PORTS = {"http": 80, "https": 443}
_AGAIN = frozenset({408, 429, 502, 503, 504})
"""Statuses after which the same body may be taken; OTLP's specification names these."""
_SHOWN = 300
"""Most bytes of an answer that a message shows."""


class Poster:
    """Connections to one collector. Blocking; one thread posts at a time."""

    def __init__(self, endpoint: Endpoint, settings: ExporterSettings, content_type: str) -> None:
        """Connects at the first post. Raises `ConfigError` for an unreadable CA file."""
        require_ca(settings.ca)
        self.name = endpoint.name
        self._path = endpoint.path
        self._timeout_s = settings.timeout_s
        self._headers = _headers(endpoint.account, settings.headers, content_type)
        options: dict[str, Any] = {"maxsize": 1, "retries": False}
        self._pool = (
            urllib3.HTTPSConnectionPool(
                endpoint.host, endpoint.port, ca_certs=settings.ca or None, **options
            )
            if endpoint.scheme == "https"
            else urllib3.HTTPConnectionPool(endpoint.host, endpoint.port, **options)
        )

    def post(self, body: bytes) -> bytes:
        """Send a body; what was answered.

        Raises:
            Unavailable: nobody answered in time, or it may be taken later.
            SystemFault: it was refused.
        """
        try:
            answer = self._pool.request(
                "POST",
                self._path,
                body=body,
                headers=self._headers,
                redirect=False,
                timeout=Timeout(total=self._timeout_s),
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unavailable(f"{self.name} does not answer: {error}") from error
        if 200 <= answer.status < 300:
            return answer.data
        words = answer.data[:_SHOWN].decode("utf-8", "replace").strip()
        kind = Unavailable if answer.status in _AGAIN else SystemFault
        raise kind(f"{self.name} answers {answer.status} {answer.reason or ''}: {words}")

    def close(self) -> None:
        """Close connections that are not in use."""
        self._pool.close()


def _headers(account: str, headers: Mapping[str, str], content_type: str) -> dict[str, str]:
    found = {"content-type": content_type, "user-agent": "mishards"}
    if account:
        found["authorization"] = f"Basic {base64.b64encode(account.encode()).decode()}"
    return found | dict(headers)
