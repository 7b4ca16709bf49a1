"""Whether a place for backups and a data set lie apart.

Invariant: what is compared is what the names say. Two names of one server, and two mounts of one
folder, are not known to be the same.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from mishards.core.errors import ConfigError
from mishards.core.secret import redact
from mishards.storage.s3_url import endpoint_of, parse_s3_url


def check_apart(data: str, place: str) -> None:
    """Look where the two lie: folders, or URLs of storage plugins.

    Raises:
        ConfigError: the backups would lie in the data, or the data in the backups; or one of the
            two is no URL that can be used.
    """
    one, other = _parts(data), _parts(place)
    shorter = min(len(one), len(other))
    if one[:shorter] == other[:shorter]:
        raise ConfigError(
            f"backups at {redact(place)!r} and cluster.data = {redact(data)!r} lie in one another; "
            "choose another folder, bucket or prefix for the backups"
        )


def folder_of(url: str) -> Path | None:
    """The folder that a place is; None for another kind of store."""
    path = url.removeprefix("file://")
    return None if "://" in path else Path(path).expanduser().absolute()


def _parts(url: str) -> tuple[str, ...]:
    """Where it is, from the outermost on."""
    if (folder := folder_of(url)) is not None:
        return ("file", *folder.resolve().parts)
    parts = urlsplit(url)
    if parts.scheme == "s3":
        s3 = parse_s3_url(url)
        return ("s3", endpoint_of(s3).rstrip("/").lower(), s3.bucket, *_steps(s3.prefix))
    return (parts.scheme, parts.netloc, *_steps(unquote(parts.path)))


def _steps(path: str) -> tuple[str, ...]:
    return tuple(step for step in path.split("/") if step)
