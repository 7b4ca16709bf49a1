"""Telling the leader of damaged index files, one at a time.

Invariant: a report is a hint. It may be lost, or sent again after the next failed attempt to open
the file; the leader looks for itself before it does anything.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from mishards.core.errors import MishardsError
from mishards.core.ids import SegmentId
from mishards.core.runtime import Runtime
from mishards.rpc.messages import ReportDamage

Report = Callable[[ReportDamage], Awaitable[object]]
"""Sends a report to the leader of the collection's log. Raises `MishardsError`s."""

_log = logging.getLogger(__name__)


class DamageReports:
    """Reports that wait to be sent. From the loop's thread."""

    def __init__(self, runtime: Runtime, report: Report | None) -> None:
        """`report` None: nobody is told."""
        self._runtime = runtime
        self._report = report
        self._waiting: dict[tuple[SegmentId, str], ReportDamage] = {}
        self._sending = False

    def add(self, message: ReportDamage) -> None:
        """Send it in the background."""
        if self._report is None:
            return
        self._waiting[message.segment, message.name] = message
        if not self._sending:
            self._sending = True
            self._runtime.spawn(self._send(self._report), "reports of damage")

    async def _send(self, report: Report) -> None:
        try:
            while self._waiting:
                message = self._waiting.pop(next(iter(self._waiting)))
                try:
                    await report(message)
                except MishardsError as error:
                    _log.info("the leader was not told of %s: %s", message.name, error)
        finally:
            self._sending = False
