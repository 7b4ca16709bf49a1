"""How the process writes its log: one line per record, to standard error.

Invariant: no secret that the configuration holds, and no password of a URL, is in what is written,
traces of errors included.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mishards.core.secret import redact

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def configure(level: str, hidden: Sequence[str] = ()) -> None:
    """Send records of `level` and above to standard error, with the values in `hidden` hidden."""
    handler = logging.StreamHandler()
    handler.setFormatter(RedactingFormatter(_FORMAT, hidden))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def guard() -> None:
    """Hide passwords also in what is logged before, or without, `configure`."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(RedactingFormatter("%(message)s"))


class RedactingFormatter(logging.Formatter):
    """Hides secrets in whatever a record has become."""

    def __init__(self, form: str, hidden: Sequence[str] = ()) -> None:
        super().__init__(form)
        self._hidden = tuple(hidden)

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record), self._hidden)
