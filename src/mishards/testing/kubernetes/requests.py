"""Requests of the Kubernetes API, answered from `Objects`: paths, verbs, selectors, watches.

Paths are those of core and grouped kinds in a namespace; kinds are those of `objects.KINDS`.
Invariants: items of a list carry neither kind nor version of their own; a watch that asks for no
version, or for 0, begins with what there is; an object that begins or ceases to match a watch's
selector is added or deleted for it; where a Role is given, what it does not grant is 403.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from aiohttp import web

from mishards.testing.kubernetes.objects import KINDS, Change, Json, Kind, Objects, Refused

_NAMESPACES = KINDS[0]
_MERGE_PATCH = "application/merge-patch+json"
Matches = Callable[[Json], bool]


class Request(NamedTuple):
    """What a path says."""

    kind: Kind
    namespace: str
    name: str
    part: str


class Answerer:
    """Answers requests; what tests turn about it is public.

    Attributes:
        running: cleared, requests are taken and nothing is answered.
        rules: of the Role that callers have; None for all rights.
        token: that callers have to bring; empty for none.
        gone_in_stream: whether a watch of forgotten history is told so as an event of a stream
            that begins well, or by its status; servers do both.
        requests: the verb and plural of each so far.
    """

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self.running = asyncio.Event()
        self.running.set()
        self.rules: Sequence[Mapping[str, Sequence[str]]] | None = None
        self.token = ""
        self.gone_in_stream = True
        self.requests: list[tuple[str, str]] = []
        self._streams: dict[asyncio.Queue[Change | bytes | None], Request] = {}
        objects.changed = self._spread

    def application(self) -> web.Application:
        """An application that passes everything here."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        return application

    def say(self, line: bytes) -> None:
        """Send a line of a test's own down every watch; without one, end them all."""
        for queue in self._streams:
            queue.put_nowait(line or None)

    def bookmark(self) -> None:
        """Send a bookmark down every watch."""
        for queue, request in self._streams.items():
            meta = {"resourceVersion": str(self.objects.version), "creationTimestamp": None}
            found = {"kind": request.kind.kind, "apiVersion": request.kind.api_version}
            queue.put_nowait(_event("BOOKMARK", {**found, "metadata": meta}))

    @property
    def watches(self) -> int:
        """How many run."""
        return len(self._streams)

    def _spread(self) -> None:
        for queue in self._streams:
            queue.put_nowait(self.objects.history[-1])

    async def _answer(self, http: web.Request) -> web.StreamResponse:
        await self.running.wait()
        try:
            self._admit(http)
            request = _parsed(http.path)
            verb = _verb(http, request)
            self._authorise(verb, request)
            self.requests.append((verb, request.kind.plural))
            if verb == "watch":
                return await self._watch(http, request)
            found = await self._do(http, verb, request)
        except Refused as refused:
            return web.json_response(refused.status, status=refused.status["code"])
        await self.running.wait()
        return web.json_response(found, status=201 if verb == "create" else 200)

    def _admit(self, http: web.Request) -> None:
        if self.token and http.headers.get("Authorization") != f"Bearer {self.token}":
            raise Refused(401, "Unauthorized", "Unauthorized")

    def _authorise(self, verb: str, request: Request) -> None:
        plural = f"{request.kind.plural}/{request.part}".rstrip("/")
        if self.rules is None or any(
            verb in rule["verbs"]
            and request.kind.group in rule["apiGroups"]
            and plural in rule["resources"]
            for rule in self.rules
        ):
            return
        raise Refused(
            403,
            "Forbidden",
            f'{request.kind.full_name} is forbidden: cannot {verb} resource "{plural}" in API '
            f'group "{request.kind.group}" in the namespace "{request.namespace}"',
        )

    async def _do(self, http: web.Request, verb: str, request: Request) -> Json:
        kind, namespace, name, part = request
        objects = self.objects
        body: Json = await http.json() if http.can_read_body else {}
        if kind != _NAMESPACES:
            objects.get(_NAMESPACES, "", namespace)
        if verb == "list":
            return self._list(http, request)
        if verb == "get":
            return objects.get(kind, namespace, name)
        if verb == "create":
            return objects.create(kind, namespace, body)
        if verb == "update":
            return objects.replace(kind, namespace, name, body)
        if verb == "delete":
            return objects.delete(kind, namespace, name, body)
        if http.content_type != _MERGE_PATCH:
            raise Refused(415, "UnsupportedMediaType", f"{_MERGE_PATCH} is what is answered here")
        return objects.patch(kind, namespace, name, body, part)

    def _list(self, http: web.Request, request: Request) -> Json:
        kind = request.kind
        matches = _selector(http.query.get("labelSelector", ""))
        items = [
            {key: value for key, value in found.items() if key not in ("kind", "apiVersion")}
            for found in self.objects.all(kind, request.namespace)
            if matches(found)
        ]
        return {
            "kind": f"{kind.kind}List",
            "apiVersion": kind.api_version,
            "metadata": {"resourceVersion": str(self.objects.version)},
            "items": items,
        }

    async def _watch(self, http: web.Request, request: Request) -> web.StreamResponse:
        matches = _selector(http.query.get("labelSelector", ""))
        queue: asyncio.Queue[Change | bytes | None] = asyncio.Queue()
        try:
            for change in self._first(http, request):
                queue.put_nowait(change)
        except Refused as refused:
            if refused.status["code"] != 410 or not self.gone_in_stream:
                raise
            queue.put_nowait(_event("ERROR", refused.status))
            queue.put_nowait(None)
        response = web.StreamResponse()
        response.content_type = "application/json"
        self._streams[queue] = request
        try:
            await response.prepare(http)
            seconds = http.query.get("timeoutSeconds")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(float(seconds) if seconds else None):
                    await self._stream(response, queue, request, matches)
            await response.write_eof()
        finally:
            del self._streams[queue]
        return response

    def _first(self, http: web.Request, request: Request) -> Iterable[Change]:
        version = http.query.get("resourceVersion", "")
        if version in ("", "0"):
            return [
                Change(self.objects.version, request.kind, request.namespace, None, found)
                for found in self.objects.all(request.kind, request.namespace)
            ]
        return self.objects.since(int(version))

    async def _stream(
        self,
        response: web.StreamResponse,
        queue: asyncio.Queue[Change | bytes | None],
        request: Request,
        matches: Matches,
    ) -> None:
        while (item := await queue.get()) is not None:
            line = item if isinstance(item, bytes) else _seen(item, request, matches)
            await self.running.wait()
            if line:
                await response.write(line)


def _parsed(path: str) -> Request:
    """The request of `/api/v1/namespaces/…` or `/apis/<group>/<version>/namespaces/…`."""
    parts = [part for part in path.split("/") if part]
    root, *rest = parts or [""]
    group = rest.pop(0) if root == "apis" and rest else ""
    version, *rest = rest or [""]
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    plural, name, part, *more = *rest, "", "", ""
    for kind in KINDS:
        if (kind.group, kind.version, kind.plural) == (group, version, plural) and not any(more):
            return Request(kind, namespace, name, part)
    raise Refused(404, "NotFound", "the server could not find the requested resource")


def _verb(http: web.Request, request: Request) -> str:
    if http.method == "GET" and not request.name:
        return "watch" if http.query.get("watch") in ("1", "true") else "list"
    verbs = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
    if not request.name:
        verbs = {"POST": "create"}
    if http.method not in verbs:
        raise Refused(405, "MethodNotAllowed", f"{http.method} is not allowed on {http.path}")
    return verbs[http.method]


def _selector(text: str) -> Matches:
    """What `key=value,…` selects."""
    wanted = [part.split("=", 1) for part in text.replace("==", "=").split(",") if part]

    def matches(found: Json) -> bool:
        labels = found["metadata"].get("labels") or {}
        return all(labels.get(key) == value for key, value in wanted)

    return matches


def _seen(change: Change, request: Request, matches: Matches) -> bytes:
    """How a watch is told of a change; nothing where it does not concern it."""
    if (change.kind, change.namespace) != (request.kind, request.namespace):
        return b""
    before = change.before is not None and matches(change.before)
    after = change.after is not None and matches(change.after)
    if after:
        assert change.after is not None
        return _event("MODIFIED" if before else "ADDED", change.after)
    if not before:
        return b""
    gone = change.gone
    if gone is None:  # it is there, and no longer selected
        assert change.before is not None
        gone = copy.deepcopy(change.before)
        gone["metadata"]["resourceVersion"] = str(change.version)
    return _event("DELETED", gone)


def _event(kind: str, found: Any) -> bytes:
    return json.dumps({"type": kind, "object": found}).encode() + b"\n"
