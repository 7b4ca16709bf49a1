"""How the process writes its log: one line per record, to standard error."""

from __future__ import annotations

import logging

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def configure(level: str) -> None:
    """Send records of `level` and above to standard error."""
    logging.basicConfig(level=level.upper(), format=_FORMAT, force=True)
