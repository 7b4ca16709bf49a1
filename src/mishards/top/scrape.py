"""Fetches `/metrics` of nodes, with the token that the configuration has."""

from __future__ import annotations

import http.client
import ssl

from mishards.api.http.config import HttpConfig
from mishards.core.errors import Unavailable
from mishards.core.runtime import Runtime
from mishards.doctor.nodes import reached_at
from mishards.top.samples import Scrape, parse

_MOST_BYTES = 16 << 20


class Scraper:
    """Asks nodes what they measured. From the loop's thread."""

    def __init__(self, config: HttpConfig, runtime: Runtime, timeout_s: float) -> None:
        """Nodes are taken to be configured as this process is."""
        self._config = config
        self._runtime = runtime
        self._timeout_s = timeout_s

    async def scrape(self, address: str, machine: str) -> Scrape:
        """What a node measured up to now.

        Args:
            address: `host:port` of its HTTP endpoint, as it says it.
            machine: that it is on.

        Raises:
            Unavailable: it does not tell; says why.
        """
        host, port = reached_at(address, machine)
        try:
            text = await self._runtime.blocking(self._get, host, port)
            return parse(text, self._runtime.monotonic_s())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(f"http://{host}:{port}/metrics: {error}") from error

    def _get(self, host: str, port: int) -> str:
        connection = self._connection(host, port)
        token = (self._config.metrics_token or self._config.token).reveal()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            connection.request("GET", "/metrics", headers=headers)
            answer = connection.getresponse()
            body = answer.read(_MOST_BYTES)
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise OSError(f"answered {answer.status} {answer.reason}")
        return body.decode(errors="replace")

    def _connection(self, host: str, port: int) -> http.client.HTTPConnection:
        certificate = self._config.tls_certificate
        if not certificate:
            return http.client.HTTPConnection(host, port, timeout=self._timeout_s)
        # The nodes' own certificate is trusted under whatever name a node is reached by, and all
        # that the system trusts under its own.
        context = ssl.create_default_context()
        context.load_verify_locations(certificate)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.check_hostname = False
        return http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=context)
