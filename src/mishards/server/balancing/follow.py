"""Keeping a balancer's file as the cluster is: for balancers that ask nobody how it is.

Invariants: a file is replaced whole, and only when it would be another; one that would leave no
proxy that serves is not written, and neither is one made of a registry that cannot be reached: what
was last known stays.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shlex
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from mishards.core.errors import MishardsError
from mishards.core.runtime import Runtime, SystemRuntime
from mishards.discovery.protocol import Registry
from mishards.server.balancing.plan import ProxyTarget, serving_proxies
from mishards.server.config import Config
from mishards.server.seams import open_seams

_ASK_S = 2.0
_COMMAND_S = 30.0
_log = logging.getLogger(__name__)


async def keep_file(
    config: Config,
    make: Callable[[Sequence[ProxyTarget]], str],
    path: Path,
    command: str,
    every_s: float,
) -> None:
    """Look every `every_s`, and after a change write the file and run `command`; for ever.

    Raises:
        ConfigError: there is no such data set.
    """
    config.require_data()
    runtime = SystemRuntime(threads=4)
    try:
        seams = await open_seams(config, runtime)
        try:
            secure = bool(config.http.tls_certificate)
            follower = Follower(runtime, seams.registry, make, path, command, secure=secure)
            while True:
                await follower.look()
                await runtime.sleep(every_s)
        finally:
            await seams.close()
    finally:
        await runtime.close()


class Follower:
    """Compares and replaces one file."""

    def __init__(
        self,
        runtime: Runtime,
        registry: Registry,
        make: Callable[[Sequence[ProxyTarget]], str],
        path: Path,
        command: str,
        *,
        secure: bool = False,
    ) -> None:
        """A follower that has not looked yet.

        Args:
            command: run after each change, without a shell; empty for none.
            secure: whether the proxies' HTTP endpoints speak TLS.
        """
        self._secure = secure
        self._runtime = runtime
        self._registry = registry
        self._make = make
        self._path = path
        self._command = shlex.split(command)
        self._used = ""
        self._trouble = ""

    async def look(self) -> None:
        """Look once; what is in the way is logged, and tried again at the next look."""
        try:
            proxies = await self._proxies()
            if not any(not proxy.drained for proxy in proxies):
                self._say("the balancer stays as it is: no proxy serves")
                return
            text = self._make(proxies)
            if text == self._used:
                self._trouble = ""
                return
            await self._runtime.blocking(replace_file, self._path, text)
            await self._run()
        except (MishardsError, OSError) as error:
            self._say(f"the balancer stays as it is: {error}")
        else:
            self._used, self._trouble = text, ""
            drained = [proxy.name for proxy in proxies if proxy.drained]
            _log.info("%s has %d proxies; drained: %s", self._path, len(proxies), drained or "none")

    async def _proxies(self) -> list[ProxyTarget]:
        """The registry's proxies; those that say that they do not serve are drained."""
        proxies = serving_proxies(await self._registry.nodes())
        ready = await asyncio.gather(
            *(self._runtime.blocking(_ready, proxy.health, self._secure) for proxy in proxies)
        )
        return [
            msgspec.structs.replace(proxy, drained=not serves)
            for proxy, serves in zip(proxies, ready, strict=True)
        ]

    async def _run(self) -> None:
        if not self._command:
            return
        child = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            said, _ = await self._runtime.timeout(child.communicate(), _COMMAND_S)
        except TimeoutError:
            child.kill()
            await child.wait()
            raise OSError(
                f"{shlex.join(self._command)} did not end within {_COMMAND_S:g} s"
            ) from None
        if child.returncode:
            raise OSError(
                f"{shlex.join(self._command)} ended with {child.returncode}: "
                f"{said.decode(errors='replace').strip()}"
            )

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            _log.warning("%s", trouble)
        self._trouble = trouble


def _ready(address: str, secure: bool) -> bool:
    """Whether a proxy says that it serves; one without an HTTP endpoint is believed to. Blocks."""
    if not address:
        return True
    try:
        url = f"{'https' if secure else 'http'}://{address}/readyz"
        context = _of_anybody() if secure else None
        with urllib.request.urlopen(url, timeout=_ASK_S, context=context) as answer:
            return bool(json.loads(answer.read())["ready"])
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except (OSError, ValueError, KeyError):
        return False


def _of_anybody() -> ssl.SSLContext:
    """Takes any certificate: nothing secret is sent to who is asked for its health."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def replace_file(path: Path, text: str) -> None:
    """Put a file in the place of another, at once. Blocks."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    fresh.replace(path)
