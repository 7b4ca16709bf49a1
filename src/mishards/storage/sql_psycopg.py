"""A psycopg connection that gives up on a server that says nothing.

libpq knows a time limit for connecting only: on a server that is frozen, or a host that is gone,
a query waits for as long as the kernel does. Invariant: a connection that gave up is closed, so
that nobody goes on with a half-read answer.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

_LOOK_S = 0.25


def bounded(answer_s: float) -> type[psycopg.Connection[Any]]:
    """A connection class whose waits end when the server was silent for `answer_s`, or for what
    its `patience_s` is set to."""

    class BoundedConnection(psycopg.Connection[Any]):
        patience_s = answer_s

        def wait(self, gen: Any, interval: float = _LOOK_S, *args: Any, **named: Any) -> Any:
            try:
                patient = _patient(gen, interval, self.patience_s)
                return super().wait(patient, interval, *args, **named)
            except psycopg.OperationalError:
                if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                    self.pgconn.finish()
                raise

    return BoundedConnection


def _patient(gen: Any, interval_s: float, answer_s: float) -> Generator[Any, Any, Any]:
    """What `gen` does, until too many waits in a row brought nothing: each takes `interval_s`."""
    silence_s = 0.0
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            silence_s = 0.0 if ready else silence_s + interval_s
            if silence_s >= answer_s:
                raise psycopg.OperationalError(f"the server said nothing for {answer_s:g} s")
            wanted = gen.send(ready)
    except StopIteration as end:
        return end.value
