"""What must not be read by accident: secrets, and texts that may hold a URL with a password.

Invariants: a `Secret` shows its value to nobody who does not ask for it by name, and is encoded by
no codec; `redact` is the one place that knows what of a text is to be hidden.
"""

from __future__ import annotations

import hmac
import logging
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin
from urllib.parse import unquote, urlsplit

import msgspec

from mishards.core.errors import ConfigError

_log = logging.getLogger(__name__)

HIDDEN = "***"
_SHORTEST = 4
"""Shorter values are not looked for in texts: every word would be full of them."""
_MOST_BYTES = 64 * 1024

# From the colon after a user's name to the last @ of the word; the user may begin the text, or
# what is quoted.
_PASSWORD = re.compile(r"""((?://|(?:\A|['"])(?![\w+.\-]+://))[^\s/:@'"]*:)[^\s'"]+(?=@)""")
_PARAMETER = re.compile(
    r"""([?&;][\w.\-]*(?:password|passwd|pwd|secret|token)[\w.\-]*=)[^\s&;'"]+""", re.IGNORECASE
)


class Secret:
    """A text that does not show itself."""

    __slots__ = ("_value",)

    def __init__(self, value: str = "") -> None:
        self._value = value

    def reveal(self) -> str:
        """The value."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return HIDDEN if self._value else ""


ConfidentialUrl = Annotated[str, msgspec.Meta(extra={"confidential": True})]
"""Type of a setting that is a URL, or a name, and may hold a password."""


def is_confidential(kind: Any) -> bool:
    """Whether values of a setting of type `kind` are not to be shown, and may come from a file."""
    if kind is Secret:
        return True
    if get_origin(kind) is not Annotated:
        return False
    metas = [meta for meta in get_args(kind)[1:] if isinstance(meta, msgspec.Meta)]
    return any((meta.extra or {}).get("confidential", False) for meta in metas)


def redact(text: str, hidden: Iterable[str] = ()) -> str:
    """`text` with `***` for passwords in URLs, for their parameters that are named like a secret,
    and for the values in `hidden`."""
    text = _PARAMETER.sub(rf"\1{HIDDEN}", _PASSWORD.sub(rf"\1{HIDDEN}", text))
    for value in hidden:
        text = text.replace(value, HIDDEN)
    return text


def secrets_in(settings: msgspec.Struct) -> tuple[str, ...]:
    """All values to hide that a configuration of sections holds, longest first."""
    found: set[str] = set()
    for section in msgspec.structs.fields(settings):
        struct = getattr(settings, section.name)
        for field in msgspec.structs.fields(struct):
            if not is_confidential(field.type):
                continue
            value = getattr(struct, field.name)
            found |= {value.reveal()} if isinstance(value, Secret) else _passwords(value)
    return tuple(sorted((v for v in found if len(v) >= _SHORTEST), key=len, reverse=True))


def _passwords(url: str) -> set[str]:
    try:
        account = urlsplit(url).netloc.rpartition("@")[0]
    except ValueError:
        return set()
    password = account.partition(":")[2]
    return {password, unquote(password)}


def read_secret(path: str, key: str) -> str:
    """The content of a file that holds the value of the setting `key`; a newline at its end is cut.

    A file that all users of the machine may read is a warning in the log.

    Raises:
        ConfigError: it cannot be read, is empty or too large, or is no text.
    """
    try:
        with Path(path).expanduser().open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
            mode = Path(path).expanduser().stat().st_mode
    except OSError as error:
        raise ConfigError(f"cannot read {key} from {path!r}: {error.strerror}") from error
    if len(data) > _MOST_BYTES:
        raise ConfigError(f"{key}: the file {path!r} is larger than {_MOST_BYTES} bytes")
    try:
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ConfigError(f"{key}: the file {path!r} is no UTF-8 text") from None
    if not text:
        raise ConfigError(f"{key}: the file {path!r} is empty")
    if mode & stat.S_IROTH:
        _log.warning("%s: the file %r can be read by all users of this machine", key, path)
    return text
