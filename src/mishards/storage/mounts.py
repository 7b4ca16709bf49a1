"""How a folder is mounted, as Linux tells it: what an NFS mount may answer from its own memory.

Invariant: a mount on which one machine could miss for seconds what another has written is refused,
because readers answer from what storage shows and leaders confirm by it that they still lead.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from mishards.core.errors import StorageUnfit

WANTED = "lookupcache=positive,acdirmin=0,acdirmax=0"
"""Options with which names and folders are asked of the server each time."""
_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")
_log = logging.getLogger(__name__)


class Mount(msgspec.Struct, frozen=True):
    """A mounted file system: its folder, its kind, and the options its driver shows."""

    folder: Path
    kind: str
    options: tuple[str, ...]

    @property
    def is_nfs(self) -> bool:
        return self.kind in ("nfs", "nfs4")

    @property
    def asks_the_server(self) -> bool:
        """Whether a name that was absent, and a folder that was listed, are asked for again."""
        held = dict(option.partition("=")[::2] for option in self.options)
        fresh_names = held.get("lookupcache", "all") in ("none", "pos", "positive")
        fresh_folders = held.get("acdirmin") == held.get("acdirmax") == "0"
        return "noac" in held or (fresh_names and fresh_folders)


def check_mount(folder: Path) -> None:
    """Refuse an NFS mount that may hide what others wrote; blocking.

    Raises:
        StorageUnfit: names the folder, the mount, and the options to mount with.
    """
    with suppress(OSError):  # no Linux: nothing can be told
        check_mounts(folder.resolve(), _MOUNTS.read_text(errors="replace"))


def check_mounts(folder: Path, text: str) -> None:
    """As `check_mount`, for an absolute folder among the mounts of `text`."""
    mount = _mount_of(folder, text)
    if mount is None or not mount.is_nfs:
        return
    if not mount.asks_the_server:
        raise StorageUnfit(
            f"folder {str(folder)!r} cannot be used as shared storage: the NFS mount at "
            f"{str(mount.folder)!r} may hide for seconds what other machines wrote; mount it with "
            f"-o {WANTED} (its options are {','.join(mount.options)})"
        )
    if "soft" in mount.options:
        _log.warning(
            "the NFS mount at %s is soft: a server that does not answer ends readers that have "
            "files mapped; mount it with -o hard",
            mount.folder,
        )


def _mount_of(folder: Path, text: str) -> Mount | None:
    """The mount that the folder lies on: the deepest, of several at one place the last."""
    found: Mount | None = None
    for mount in _mounts(text):
        over = folder.is_relative_to(mount.folder)
        if over and (found is None or len(mount.folder.parts) >= len(found.folder.parts)):
            found = mount
    return found


def _mounts(text: str) -> Iterator[Mount]:
    for line in text.splitlines():
        head, separator, tail = line.partition(" - ")
        fields, described = head.split(), tail.split()
        if separator and len(fields) > 4 and len(described) > 2:
            place = _ESCAPED.sub(lambda code: chr(int(code[1], 8)), fields[4])
            yield Mount(Path(place), described[0], tuple(described[2].split(",")))
