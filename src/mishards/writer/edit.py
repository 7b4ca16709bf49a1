"""What one metadata commit changes, and the arguments every DDL function takes.

Invariant: a DDL function is pure: the same snapshot, message and fresh ids give the same edit. An
empty edit means that what was asked for already holds; nothing is committed.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from mishards.core.ids import Timestamp
from mishards.metadata.models import Record
from mishards.metadata.snapshot import MetadataSnapshot

Fresh = Callable[[], Timestamp]
"""Gives a timestamp greater than all before; also used as an id."""


class Edit(msgspec.Struct, frozen=True):
    """Records to put and keys to delete in one transaction."""

    puts: tuple[Record, ...] = ()
    deletes: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not self.puts and not self.deletes


NOTHING = Edit()

Change = Callable[[MetadataSnapshot], Edit]
"""Decides on the newest snapshot; may be asked again on a newer one. Raises `MishardsError`."""
