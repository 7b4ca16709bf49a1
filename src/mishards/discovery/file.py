"""A list of nodes in a file that is watched, for clusters whose members another tool writes down.

`file:///etc/mishards/nodes.toml`, or `.json`: the list `nodes`, or in JSON the bare list, with
entries as `static` has them. Invariants: a file that is missing, torn, broken or without nodes
leaves the last good list in place, and is told of once; what was read is read again only when the
file's time, size or number differ.
"""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from mishards.core.errors import ConfigError, Unavailable
from mishards.core.ids import NodeId
from mishards.core.runtime import Runtime
from mishards.discovery.protocol import NodeInfo
from mishards.discovery.static import parse_nodes

_MOST_BYTES = 4 << 20
_log = logging.getLogger(__name__)

_Signature = tuple[int, int, int]


class _List(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    nodes: list[str]


class FileRegistry:
    """A `Registry` over a file; it is read off the loop."""

    is_list = True

    def __init__(self, path: Path, runtime: Runtime) -> None:
        self._path = path
        self._runtime = runtime
        self._read: _Signature | None = None
        self._nodes: tuple[NodeInfo, ...] = ()
        self._said = ""

    async def announce(self, node: NodeInfo) -> None:
        """The list is somebody else's: nothing changes."""

    async def withdraw(self, node_id: NodeId) -> None:
        """The list is somebody else's: nothing changes."""

    async def nodes(self) -> tuple[NodeInfo, ...]:
        try:
            await self._runtime.blocking(self._look)
        except (OSError, ConfigError) as error:
            self._read = None
            reason = error.message if isinstance(error, ConfigError) else str(error)
            if not self._nodes:
                raise Unavailable(f"the list of nodes {str(self._path)!r}: {reason}") from error
            self._say(f"the list of nodes {str(self._path)!r} stays as it was: {reason}")
        else:
            self._say("")
        return self._nodes

    async def close(self) -> None:
        """Nothing is held."""

    def _say(self, state: str) -> None:
        if state != self._said:
            self._said = state
            _log.warning("%s", state or f"the list of nodes {str(self._path)!r} is good again")

    def _look(self) -> None:
        """Read the file if it is another; off the loop.

        Raises:
            OSError: it cannot be read.
            ConfigError: it holds no list of nodes.
        """
        # Taken first: what changes while it is read differs again at the next look.
        found = self._path.stat()
        signature = (found.st_mtime_ns, found.st_size, found.st_ino)
        if signature == self._read:
            return
        if found.st_size > _MOST_BYTES:
            raise ConfigError(f"{found.st_size} bytes; up to {_MOST_BYTES} are allowed")
        nodes = parse_list(self._path.read_bytes(), self._path.suffix)
        if not nodes:
            raise ConfigError("it names no nodes")
        self._nodes = nodes
        self._read = signature


def parse_list(data: bytes, suffix: str) -> tuple[NodeInfo, ...]:
    """The nodes that a file of that name's ending lists.

    Raises:
        ConfigError: it is neither; says what is wrong.
    """
    try:
        if suffix == ".toml":
            found = msgspec.convert(tomllib.loads(data.decode()), _List)
        else:
            read = msgspec.json.decode(data)
            found = msgspec.convert({"nodes": read} if isinstance(read, list) else read, _List)
    except (ValueError, RecursionError) as error:  # of the decoders, and of UTF-8
        raise ConfigError(f"no list of nodes: {error}") from error
    return parse_nodes(found.nodes)


def open_file(runtime: Runtime, *, url: str, nodes: Sequence[str], ttl_s: float) -> FileRegistry:
    """The registry of a `file:///path` URL.

    Raises:
        ConfigError: the URL names no file that ends with `.toml` or `.json`.
    """
    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    if parts.scheme != "file" or parts.netloc or path.suffix not in (".toml", ".json"):
        raise ConfigError(
            f"invalid list of nodes {url!r}: file:///folder/nodes.toml or .json is expected"
        )
    return FileRegistry(path, runtime)
