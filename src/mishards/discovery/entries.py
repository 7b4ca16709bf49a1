"""Reads what nodes wrote about themselves into a shared registry.

Invariant: an entry that cannot be read is passed over with one warning: one odd node never hides
the others.
"""

from __future__ import annotations

import logging

import msgspec

from mishards.discovery.protocol import NodeInfo

_log = logging.getLogger(__name__)


class Entries:
    """Decodes entries; remembers which odd ones were told of."""

    def __init__(self) -> None:
        self._odd: set[str] = set()

    def decode(self, name: str, body: str | bytes) -> NodeInfo | None:
        """The node whose entry is called `name`; None where it cannot be read."""
        try:
            return msgspec.json.decode(body, type=NodeInfo)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            if name not in self._odd:
                self._odd.add(name)
                _log.warning("passing over node %r in the registry: %s", name, error)
            return None
