"""Which keys objects may have.

Invariant: an accepted key, joined to a folder, stays inside it; no part of it starts with a dot,
so a store may keep names of its own there.
"""

from __future__ import annotations

import re

from mishards.core.errors import ConfigError

_PART = r"[A-Za-z0-9_\-][A-Za-z0-9_\-.=+]*"
_KEY = re.compile(rf"{_PART}(?:/{_PART})*\Z")
_RULE = "'/'-separated names of ASCII letters, digits and _-.=+ that do not start with a dot"


def check_key(key: str) -> None:
    """Refuse a key that is absolute, leaves its folder, or holds other characters.

    Raises:
        ConfigError: names the key.
    """
    if not _KEY.match(key):
        raise ConfigError(f"invalid object key {key!r}; allowed are {_RULE}")


def check_prefix(prefix: str) -> None:
    """Refuse a prefix that no key can have.

    Raises:
        ConfigError: names the prefix.
    """
    folder = prefix.rpartition("/")[0]
    if (folder and not _KEY.match(folder)) or prefix.startswith("/"):
        raise ConfigError(f"invalid prefix of object keys {prefix!r}; keys are {_RULE}")
