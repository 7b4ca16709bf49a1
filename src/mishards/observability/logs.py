"""How the process writes its log: one line per record, to standard error; and what another program,
of which this package is a part, gets to write.

Invariant: no secret that the configuration holds, and no password of a URL, is in what is written,
traces of errors included. In another program that holds for handlers of loggers above this
package's, as the root's are, which write a record's message and the text of its trace.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mishards.core.secret import redact

_PACKAGE = "mishards"
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


def shield(hidden: Sequence[str] = ()) -> None:
    """Hide secrets in what this package's loggers hand on to handlers that are not its own, the
    values in `hidden` among them. Configures nothing else; may be called again, with more."""
    package = logging.getLogger(_PACKAGE)
    for handler in package.handlers:
        if isinstance(handler, _Shield):
            handler.hide(hidden)
            return
    package.addHandler(_Shield(hidden))


class _Shield(logging.Handler):
    """Writes nothing: changes records before the handlers of loggers above see them.

    A filter of the package's logger would not see the records of its modules' loggers.
    """

    def __init__(self, hidden: Sequence[str]) -> None:
        super().__init__()
        self._hidden: tuple[str, ...] = ()
        self.hide(hidden)

    def hide(self, hidden: Sequence[str]) -> None:
        """These as well; the longest first."""
        self._hidden = tuple(sorted({*self._hidden, *hidden}, key=len, reverse=True))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            record.msg = redact(record.getMessage(), self._hidden)
        except (TypeError, ValueError):  # the handlers above will say so too
            return
        record.args = ()
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact(record.exc_text, self._hidden)
        if record.stack_info:
            record.stack_info = redact(record.stack_info, self._hidden)
        self._as_without_handlers(record)

    def _as_without_handlers(self, record: logging.LogRecord) -> None:
        """Where the program has no handlers, Python writes warnings to standard error; with this
        one here it would not."""
        last = logging.lastResort
        if last is not None and not logging.getLogger().handlers and record.levelno >= last.level:
            package = logging.getLogger(_PACKAGE)
            if all(isinstance(handler, _Shield) for handler in package.handlers):
                last.handle(record)


class RedactingFormatter(logging.Formatter):
    """Hides secrets in whatever a record has become."""

    def __init__(self, form: str, hidden: Sequence[str] = ()) -> None:
        super().__init__(form)
        self._hidden = tuple(hidden)

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record), self._hidden)
