"""Objects of one kind in a Kubernetes API, kept as they are now: listed once, then watched.

Invariants:

- what was seen last stays while the server is away;
- a watch that ended goes on where it was; where the server no longer keeps that part of history
  (410), or says anything else that is no event, everything is listed anew;
- an object that cannot be read is passed over with one warning, and ends nothing;
- a watch that stays silent for longer than it should is given up, and everything is listed: a
  connection that is half open looks like one on which nothing happens;
- nothing happens between two calls of `current`, whose caller's rhythm is the pause between
  attempts.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from mishards.core.errors import Unavailable
from mishards.core.runtime import Runtime
from mishards.discovery.kubernetes_api import Gone, KubernetesApi, WatchLines

T = TypeVar("T")

_log = logging.getLogger(__name__)
_WATCH_S = (240, 300)
"""The server is asked to end a watch after about so long: it goes on at whichever server is up."""


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """What every object says of itself."""

    name: str = ""
    uid: str = ""
    resource_version: str = ""
    annotations: dict[str, str] | None = None
    deletion_timestamp: str | None = None


class _Object(msgspec.Struct):
    metadata: Meta = Meta()


class _List(msgspec.Struct):
    metadata: Meta
    items: list[msgspec.Raw] | None = None


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class ObjectWatch(Generic[T]):
    """See the module. From the loop's thread.

    Attributes:
        objects: by name, as they were seen last.
        versions: their resource versions.
        heard_s: when the server was last heard, on the monotonic clock.
        since: the version from which a watch would go on; empty where it begins with a list.
        proved: what is seen was listed, or added to, since the watch began. One that goes on from
            a version which a restored server has yet to come to is told nothing.
    """

    def __init__(
        self,
        api: KubernetesApi,
        runtime: Runtime,
        path: str,
        selector: str,
        decode: Callable[[Any], T],
    ) -> None:
        """A watch that has not begun.

        Args:
            decode: makes what is kept of an object's JSON; raises `MsgspecError`.
        """
        self.objects: dict[str, T] = {}
        self.versions: dict[str, str] = {}
        self.heard_s = -math.inf
        self._api = api
        self._runtime = runtime
        self._path = path
        self._query = [("labelSelector", selector)]
        self._decode = decode
        self.since = ""
        self.proved = False
        self._odd: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._lines: WatchLines | None = None
        self._turn = asyncio.Lock()

    @property
    def runs(self) -> bool:
        """Whether a watch is open, as far as is known."""
        return self._task is not None and not self._task.done()

    async def current(self, silence_s: float) -> None:
        """Return once a watch runs that was heard of late.

        Args:
            silence_s: after so long without a word a watch is given up.

        Raises:
            ConfigError, Unavailable: the server does not answer; what was seen stays.
        """
        async with self._turn:
            if self.runs:
                if self._runtime.monotonic_s() - self.heard_s < silence_s:
                    return
                self.since = ""
            await self._end()
            if self.since:
                try:
                    await self._begin()
                except Gone:
                    _log.debug("history of %s was forgotten: listing it", self._path)
                else:
                    return
            await self._list()
            try:
                await self._begin()
            except Gone as error:
                raise Unavailable("the Kubernetes API forgets what it has just listed") from error
            self.proved = True

    async def close(self) -> None:
        """End the watch."""
        async with self._turn:
            await self._end()

    async def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
            self._task = None
        if self._lines is not None:
            self._lines.close()  # a task that was cancelled before its first step closed nothing
            self._lines = None

    async def _list(self) -> None:
        _, data = await self._api.call("GET", self._path, query=self._query)
        try:
            found = msgspec.json.decode(data, type=_List)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Unavailable(f"the Kubernetes API lists {self._path} oddly: {error}") from error
        before, self.objects, self.versions = self.objects, {}, {}
        for item in found.items or ():
            try:
                self._keep(item, before)
            except _NoEvent as error:
                _log.warning("passing over an entry of %s: %s", self._path, error)
        self.since = found.metadata.resource_version
        self.heard_s = self._runtime.monotonic_s()

    async def _begin(self) -> None:
        since, self.since = self.since, ""  # until the server has agreed to go on from there
        query = [
            *self._query,
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", since),
            ("timeoutSeconds", str(self._runtime.random.randint(*_WATCH_S))),
        ]
        try:
            self._lines = lines = await self._api.watch(self._path, query)
        except Unavailable:
            self.since = since
            raise
        self.since, self.proved = since, False
        self.heard_s = self._runtime.monotonic_s()
        self._task = self._runtime.spawn(self._follow(lines), f"watch of {self._path}")

    async def _follow(self, lines: WatchLines) -> None:
        try:
            async for line in lines:
                self.heard_s, self.proved = self._runtime.monotonic_s(), True
                self._take(line)
        except Unavailable as error:
            _log.debug("a watch has ended: %s", error.message)
        except _NoEvent as error:
            _log.info("the Kubernetes API is listed anew: %s", error)
            self.since = ""
        finally:
            lines.close()

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            event = msgspec.json.decode(line, type=_Event)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise _NoEvent(f"{error}, in {line[:200]!r}") from error
        if event.type == "BOOKMARK":
            self.since = _meta(event.object).resource_version or self.since
        elif event.type == "DELETED":
            meta = _meta(event.object)
            self.objects.pop(meta.name, None)
            self.versions.pop(meta.name, None)
            self.since = meta.resource_version or self.since
        elif event.type in ("ADDED", "MODIFIED"):
            self.since = self._keep(event.object, self.objects) or self.since
        else:
            raise _NoEvent(bytes(event.object)[:200].decode(errors="replace"))

    def _keep(self, raw: msgspec.Raw, before: dict[str, T]) -> str:
        """Take an object, or leave it as it was where it cannot be read; its version."""
        meta = _meta(raw)
        try:
            self.objects[meta.name] = self._decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            if meta.name in before:
                self.objects[meta.name] = before[meta.name]
            if meta.name not in self._odd:
                self._odd.add(meta.name)
                _log.warning("passing over %r in %s: %s", meta.name, self._path, error)
        self.versions[meta.name] = meta.resource_version
        return meta.resource_version


class _NoEvent(Exception):
    """The server said something that is no change of an object."""


def _meta(raw: Any) -> Meta:
    try:
        return msgspec.json.decode(raw, type=_Object).metadata
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _NoEvent(f"an object without metadata: {error}") from error
