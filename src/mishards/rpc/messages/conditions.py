"""What a node's process and machine are like: asked for by whoever looks after a cluster."""

from __future__ import annotations

import msgspec

from mishards.rpc.messages.form import Form


class Examine(Form, frozen=True, kw_only=True, tag="examine"):
    """Ask any node about its process and its machine."""


class Condition(Form, frozen=True, kw_only=True, tag="condition"):
    """A process and its machine; a number is 0 where it cannot be told, or where there is no limit.

    Attributes:
        now_ms: the node's clock while it answered.
        release: version of Mishards.
        libraries: versions of Python and of what the node imports, by name.
        cpu_s: processor time of the process since it began.
        resident_bytes: memory of the process, files that it has mapped included.
        own_bytes: of it, what is in no file: the part that no limit can push out.
        memory_limit_bytes: the least of what the machine has and what its control groups allow.
        mapped_areas, mapped_areas_limit: memory areas of the process, each mapped file one or more.
        cache_folder: of the files of segments; empty where storage has local files itself.
        cache_free_bytes: left on its disk.
        cache_limit_bytes: what the node was told that its cache may take.
    """

    node: str
    now_ms: int
    release: str
    libraries: dict[str, str] = msgspec.field(default_factory=dict)
    cpu_s: float = 0.0
    processors: int = 0
    resident_bytes: int = 0
    own_bytes: int = 0
    memory_limit_bytes: int = 0
    open_files: int = 0
    open_files_limit: int = 0
    mapped_areas: int = 0
    mapped_areas_limit: int = 0
    cache_folder: str = ""
    cache_free_bytes: int = 0
    cache_limit_bytes: int = 0
