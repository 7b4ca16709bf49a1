"""Secrets: are there any where they are needed, are they strong, and who may read them?

Invariant: no finding holds a secret, or anything that is made of one.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from mishards.core.config import FILE_SUFFIX, setting_kinds
from mishards.core.secret import is_confidential
from mishards.doctor.findings import Check, Finding
from mishards.doctor.nodes import NodeFacts, is_loopback
from mishards.server.config import Config

CLUSTER = Check(
    "secrets.cluster",
    "Is there a secret, or mutual TLS, between nodes that other machines can reach?",
    "without it whoever reaches a node's port can read and change everything",
)
STRENGTH = Check(
    "secrets.strength",
    "Are secret and tokens such that they cannot be guessed?",
    "a short or common one is tried in seconds",
)
FILES = Check(
    "secrets.files",
    "Are files that hold secrets readable by their owner alone?",
    "every user of the machine can read them",
)
DATABASE = Check(
    "secrets.database",
    "Does the metadata database on another machine ask for a password?",
    "whoever reaches it can take the cluster over",
)
CHECKS = (CLUSTER, STRENGTH, FILES, DATABASE)

_SHORTEST = 16
_COMMON = frozenset(
    {"secret", "password", "changeme", "change-me", "mishards", "default", "admin", "test", "root"}
)
_LOCAL = ("localhost", "127.0.0.1", "::1", "")


class SecretFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that holds a secret.

    Attributes:
        holds: the settings whose secrets lie in it.
    """

    path: str
    mode: int
    holds: tuple[str, ...]


def look_at_secret_files(
    config: Config, origins: Mapping[str, str], file: Path | None
) -> tuple[SecretFile, ...]:
    """The files that secrets of the configuration came from, with their permissions. Blocking.

    Args:
        origins: where each setting came from, as `core.config.load` says it.
        file: the configuration file.
    """
    held: dict[str, list[str]] = {}
    for key, kind in setting_kinds(Config).items():
        section, _, name = key.partition(".")
        value = getattr(getattr(config, section), name)
        if not is_confidential(kind) or not _is_secret(value):
            continue
        origin = origins.get(key, "")
        before, separator, path = origin.partition(f", {key}{FILE_SUFFIX} ")
        if separator:
            held.setdefault(path, []).append(key)
        elif before.startswith("file ") and file is not None:
            held.setdefault(str(file), []).append(key)
    found = []
    for path, keys in held.items():
        with suppress(OSError):
            mode = stat.S_IMODE(Path(path).expanduser().stat().st_mode)
            found.append(SecretFile(path=path, mode=mode, holds=tuple(keys)))
    return tuple(found)


def _is_secret(value: object) -> bool:
    if not isinstance(value, str):
        return bool(value)
    with suppress(ValueError):
        return urlsplit(value).password is not None
    return False


def judge_secrets(
    config: Config, files: Sequence[SecretFile], nodes: Sequence[NodeFacts]
) -> Iterator[Finding]:
    """What follows from the settings, the files, and where nodes can be reached."""
    secret, tls = config.cluster.secret.reveal(), bool(config.cluster.tls_certificate)
    addresses = [config.node.listen, config.node.advertise]
    addresses += [node.listed.address for node in nodes]
    open_to_others = [a for a in addresses if a and not is_loopback(a)]
    if secret or tls:
        yield CLUSTER.ok("nodes know each other by " + ("a secret" if secret else "mutual TLS"))
    elif open_to_others:
        yield CLUSTER.warning(
            f"nodes listen at {open_to_others[0]}, and there is neither a secret nor TLS",
            "set cluster.secret_file on all nodes, or cluster.tls_* (docs/security.md)",
        )
    else:
        yield CLUSTER.ok("there is none, and nodes are reached from their own machine alone")
    yield from _strength(config)
    for file in files:
        told = f"{file.path} holds {', '.join(file.holds)} and has mode {file.mode:o}"
        if file.mode & stat.S_IRWXO:
            yield FILES.warning(told, f"chmod 600 {file.path}")
        else:
            yield FILES.ok(told)
    yield from _database(config)


def _strength(config: Config) -> Iterator[Finding]:
    http = config.http
    given = {
        "cluster.secret": config.cluster.secret,
        "http.token": http.token,
        "http.metrics_token": http.metrics_token,
    }
    for key, held in given.items():
        value = held.reveal()
        if value and (len(value) < _SHORTEST or value.lower() in _COMMON):
            yield STRENGTH.warning(
                f"{key} is shorter than {_SHORTEST} characters, or a common word",
                f"make one: openssl rand -hex 32 > FILE; chmod 600 FILE; {key}_file = FILE",
            )
        elif value:
            yield STRENGTH.ok(f"{key} is long enough")


def _database(config: Config) -> Iterator[Finding]:
    url = config.cluster.metadata
    try:
        parts = urlsplit(url)
        remote = bool(parts.netloc) and (parts.hostname or "") not in _LOCAL
    except ValueError:
        return
    asks = parts.scheme.partition("+")[0] in ("mysql", "mariadb", "postgresql")
    if remote and asks and not parts.password:
        yield DATABASE.note(
            f"cluster.metadata names {parts.hostname} without a password",
            "give the account one, unless the server knows it by its certificate or address",
        )
