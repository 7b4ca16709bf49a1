"""Which reader is asked for which units of a read. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import msgspec

from mishards.core.errors import SegmentUnavailable
from mishards.core.ids import NodeId
from mishards.routing.protocol import Unit


class Assignment(msgspec.Struct, frozen=True, dict=True):
    """Units of a read and, per unit, the readers in order of preference."""

    preferences: dict[Unit, tuple[NodeId, ...]]
    units: tuple[Unit, ...]
    growing: Unit | None = None

    @cached_property
    def groups(self) -> dict[NodeId, list[Unit]]:
        """All units by their first readers. Raises as `group`."""
        return self.group(self.units, frozenset())

    def group(self, units: Sequence[Unit], excluded: frozenset[NodeId]) -> dict[NodeId, list[Unit]]:
        """Units by the first reader that is not excluded.

        Growing rows are known to every reader, so they go to a reader that is asked anyway.

        Raises:
            SegmentUnavailable: a unit has no reader left.
        """
        groups: dict[NodeId, list[Unit]] = {}
        for unit in units:
            if unit != self.growing:
                groups.setdefault(self._first(unit, excluded), []).append(unit)
        if self.growing is not None and self.growing in units:
            node = next((n for n in self.preferences[self.growing] if n in groups), None)
            node = node or self._first(self.growing, excluded)
            groups.setdefault(node, []).append(self.growing)
        return groups

    def _first(self, unit: Unit, excluded: frozenset[NodeId]) -> NodeId:
        for node in self.preferences[unit]:
            if node not in excluded:
                return node
        what = "the growing rows" if unit < 0 else f"segment {unit}"
        raise SegmentUnavailable(f"no live reader could serve {what}; tried {sorted(excluded)}")
