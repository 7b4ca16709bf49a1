"""Calls to a Kubernetes API server: single ones, and watches as streams of lines.

Kubernetes-asyncio reads the configuration (a Pod's account with its renewed token, a kubeconfig
with its helpers) and holds the connections. Its generated methods and its `Watch` are not used. As
read in release 36.1, that watch asks once more with the version that the server has just called
gone, calls without a pause where the server ends streams at once, waits for ever on a connection
that is half open, takes what a proxy between says in HTML for an event, and ends with an error at
an object that its models refuse; and no list tells it where to begin.

Invariants: every call ends within its time, and so does the beginning of a watch; whatever keeps
an answer away is `Unavailable`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from kubernetes_asyncio.client import ApiClient, Configuration
from kubernetes_asyncio.config import ConfigException, load_incluster_config, load_kube_config

from mishards.core.errors import ConfigError, Unavailable
from mishards.discovery.kubernetes_url import KubernetesUrl

ANSWER_S = 2.0
_BODY_S = 10.0
"""A list of everything is long."""
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes puts the account of a Pod: token, certificate and namespace."""
MERGE_PATCH = "application/merge-patch+json"
GONE = 410
_MOST_LINE_BYTES = 16 * 1024 * 1024

Query = Sequence[tuple[str, str]]


class Gone(Exception):
    """The server no longer keeps the history since the version that a watch asked for."""


class _Status(msgspec.Struct):
    """What the server says of a refusal."""

    message: str = ""
    reason: str = ""


class WatchLines:
    """What a watch says, line by line; breaking off it raises `Unavailable`. Close it."""

    def __init__(
        self, response: aiohttp.ClientResponse, away: Callable[[Exception], Unavailable]
    ) -> None:
        self._response = response
        self._away = away

    async def __aiter__(self) -> AsyncIterator[bytes]:
        rest = b""
        try:
            async for chunk in self._response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield line
                if len(rest) > _MOST_LINE_BYTES:
                    raise ValueError(f"a line of more than {_MOST_LINE_BYTES} bytes")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise self._away(error) from error

    def close(self) -> None:
        """Let go of the connection."""
        self._response.close()


class KubernetesApi:
    """One API server, in one namespace. From the loop's thread."""

    def __init__(self, url: KubernetesUrl, *, account: Path = ACCOUNT) -> None:
        self._url = url
        self._account = account
        self._client: ApiClient | None = None
        self._opening = asyncio.Lock()
        self._namespace = url.namespace

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: Mapping[str, Any] | None = None,
        kind: str = "application/json",
        besides: Sequence[int] = (),
    ) -> tuple[int, bytes]:
        """Status and body of the answer.

        Args:
            path: with `{namespace}` where it belongs.
            kind: of the body.
            besides: statuses of refusals that are an answer to the caller.

        Raises:
            ConfigError: the configuration cannot be read.
            Unavailable: no answer, or a refusal that is not in `besides`.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                response = await self._request(method, path, query, body, kind)
            data = await _body(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._away(error) from error
        if not response.ok and response.status not in besides:
            raise self._refused(response.status, data)
        return response.status, data

    async def watch(self, path: str, query: Query) -> WatchLines:
        """The lines of a watch that the server has begun; close it.

        Raises:
            Gone: it has to begin with a list.
            ConfigError, Unavailable: as `call`.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                response = await self._request("GET", path, [*query, ("watch", "1")])
            if response.ok:
                return WatchLines(response, self._away)
            data = await _body(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._away(error) from error
        if response.status == GONE:
            raise Gone
        raise self._refused(response.status, data)

    async def close(self) -> None:
        """Close the connections; watches end."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _request(
        self,
        method: str,
        path: str,
        query: Query,
        body: Mapping[str, Any] | None = None,
        kind: str = "application/json",
    ) -> aiohttp.ClientResponse:
        client = await self._opened()
        response: aiohttp.ClientResponse = await client.call_api(
            path.replace("{namespace}", self._namespace),
            method,
            query_params=[*query],
            header_params={"Accept": "application/json", "Content-Type": kind},
            body=body,
            auth_settings=["BearerToken"],
            _preload_content=False,
        )
        return response

    async def _opened(self) -> ApiClient:
        async with self._opening:
            if self._client is None:
                configuration = Configuration()
                try:
                    await self._configure(configuration)
                except (ConfigException, OSError, ValueError) as error:
                    raise ConfigError(
                        f"cannot tell how the Kubernetes API is reached: {error}; outside of a "
                        "Pod name a kubeconfig: kubernetes://namespace/cluster?kubeconfig=/path"
                    ) from error
                self._client = ApiClient(configuration)
            return self._client

    async def _configure(self, configuration: Configuration) -> None:
        if self._url.kubeconfig:
            self._namespace = self._namespace or "default"
            await load_kube_config(
                config_file=self._url.kubeconfig,
                context=self._url.context or None,
                client_configuration=configuration,
                persist_config=False,
            )
            return
        load_incluster_config(
            client_configuration=configuration,
            token_filename=str(self._account / "token"),
            cert_filename=str(self._account / "ca.crt"),
        )
        if not self._namespace:
            self._namespace = (self._account / "namespace").read_text(encoding="utf-8").strip()

    @property
    def _name(self) -> str:
        host = "" if self._client is None else f" at {self._client.configuration.host}"
        return f"the Kubernetes API{host}"

    def _away(self, error: Exception) -> Unavailable:
        reason = "no answer in time" if isinstance(error, TimeoutError) else str(error)
        return Unavailable(f"{self._name}: {reason}")

    def _refused(self, status: int, data: bytes) -> Unavailable:
        try:
            said = msgspec.json.decode(data, type=_Status).message
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            said = data[:200].decode(errors="replace")
        return Unavailable(f"{self._name} refuses with {status}: {said}")


async def _body(response: aiohttp.ClientResponse) -> bytes:
    try:
        async with asyncio.timeout(_BODY_S):
            return await response.read()
    finally:
        response.release()
