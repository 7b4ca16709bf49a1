"""The console's style sheet, script and icon, as they lie in the package."""

from __future__ import annotations

from importlib import resources

_KINDS = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


def asset(name: str) -> tuple[bytes, str] | None:
    """Content and media type; None where there is none of that name."""
    kind = _KINDS.get(name)
    if kind is None:
        return None
    return resources.files(__package__).joinpath("assets", name).read_bytes(), kind
