"""Output fields of the winners of a search: asked of the readers that hold them, put in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from mishards.core.columns import decode_batch
from mishards.core.errors import InternalError
from mishards.proxy.merge import Hits, concat_batches
from mishards.proxy.reading import ReadPlan
from mishards.routing.protocol import Unit
from mishards.rpc.messages import Fetch


class Winners:
    """Hits whose columns are still to be fetched.

    Attributes:
        units: routing units that hold at least one of them.
    """

    def __init__(self, plan: ReadPlan, columns: tuple[str, ...], hits: Hits) -> None:
        self._plan = plan
        self._columns = columns
        self._hits = hits
        # A growing row names its mutation; all growing rows are routed as one unit.
        self._routed = np.where(hits.units < 0, -plan.view.id, hits.units)
        self.units: tuple[Unit, ...] = tuple(np.unique(self._routed).tolist())

    def request(self, units: Sequence[Unit]) -> Fetch:
        """What to ask the reader of `units`."""
        places = self._places(units)
        return Fetch(
            collection=self._plan.view.id,
            version=self._plan.version,
            units=self._hits.units[places].tobytes(),
            offsets=self._hits.offsets[places].tobytes(),
            output=self._columns,
        )

    def rows(self, answers: Sequence[tuple[Sequence[Unit], Any]]) -> pa.RecordBatch:
        """The columns of all winners in their order, from answers and the units they are for."""
        batches = [decode_batch(rows.columns) for _, rows in answers]
        order = np.concatenate([self._places(units) for units, _ in answers])
        if len(order) != len(self._routed):
            raise InternalError(f"{len(order)} rows were fetched for {len(self._routed)} hits")
        places = np.empty(len(order), np.int64)
        places[order] = np.arange(len(order))
        return concat_batches(batches).take(pa.array(places))

    def _places(self, units: Sequence[Unit]) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.flatnonzero(np.isin(self._routed, np.asarray(units)))
