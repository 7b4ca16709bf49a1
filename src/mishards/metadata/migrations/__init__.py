"""Steps from one schema version of the SQL metadata store to the next, one module each.

A step names tables and columns as they were at its time, never by the current definitions. It may
run again after a crash in its midst, since MariaDB and MySQL cannot roll changes of tables back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy.engine import Connection

from mishards.metadata.migrations import from_1_to_2

STEPS: Mapping[int, Callable[[Connection], None]] = {1: from_1_to_2.migrate}
"""By the version it starts from."""
