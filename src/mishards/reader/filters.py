"""Compiled filters and the masks they give on segments, both cached.

Invariants: a segment's columns never change, so a mask depends on the segment and the filter
alone; deletes are applied on top of it for each read. Thread-safe.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from mishards.core.columns import primary_key_type
from mishards.core.ids import CollectionId
from mishards.core.schema import CollectionSchema
from mishards.expr import Filter, compile_filter
from mishards.index.protocol import Bitmap

_MOST_FILTERS = 512
_MOST_TEXT = 8_192
"""Longer filters are lists of keys, and seldom come twice."""
Mask = np.ndarray[Any, np.dtype[np.bool_]]


class Selection(NamedTuple):
    """A compiled filter.

    Attributes:
        key: tells the filter apart from all others; None where it is not worth remembering.
        keys: the primary keys it is confined to, where it says nothing else.
    """

    key: tuple[CollectionId, str, bytes] | None
    filter: Filter
    keys: pa.Array | None


class FilterCache:
    """Filters compiled last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[Any, tuple[CollectionSchema, Selection]] = OrderedDict()

    def selection(
        self,
        collection: CollectionId,
        schema: CollectionSchema,
        text: str,
        templates: Mapping[str, Any],
    ) -> Selection:
        """The filter of `text`.

        Raises:
            FilterError: points at the place.
        """
        values = msgspec.msgpack.encode(templates) if templates else b""
        if len(text) + len(values) > _MOST_TEXT:
            return _selection(None, schema, text, templates)
        key = (collection, text, values)
        with self._lock:
            known = self._known.get(key)
            if known is not None and (known[0] is schema or known[0] == schema):
                self._known.move_to_end(key)
                return known[1]
        made = _selection(key, schema, text, templates)
        with self._lock:
            self._known[key] = (schema, made)
            while len(self._known) > _MOST_FILTERS:
                self._known.popitem(last=False)
        return made


def _selection(
    key: tuple[CollectionId, str, bytes] | None,
    schema: CollectionSchema,
    text: str,
    templates: Mapping[str, Any],
) -> Selection:
    compiled = compile_filter(text, schema, templates)
    keys = compiled.primary_keys()
    wanted = None if keys is None else pa.array(keys, primary_key_type(schema))
    return Selection(key, compiled, wanted)


class PackedMask(NamedTuple):
    """Rows that match, as a bitmap, and their number."""

    bits: Bitmap
    rows: int


class MaskCache:
    """Masks used last, as many as fit into `limit_bytes`.

    Attributes:
        hits: masks that were asked for and held.
        misses: those that had to be made.
        evicted: those that had to make room.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._held: OrderedDict[Any, PackedMask] = OrderedDict()
        self.size_bytes = 0
        self.hits = 0
        self.misses = 0
        self.evicted = 0

    def __contains__(self, key: Any) -> bool:
        return key in self._held

    def mask(self, key: Any, make: Callable[[], Mask]) -> PackedMask:
        """The mask under `key`, made when it is not held."""
        with self._lock:
            if (held := self._held.get(key)) is not None:
                self._held.move_to_end(key)
                self.hits += 1
                return held
            self.misses += 1
        rows = make()
        made = PackedMask(np.packbits(rows, bitorder="little"), int(np.count_nonzero(rows)))
        with self._lock:
            if key not in self._held:
                self._held[key] = made
                self.size_bytes += made.bits.nbytes
            while self.size_bytes > self.limit_bytes and self._held:
                self.size_bytes -= self._held.popitem(last=False)[1].bits.nbytes
                self.evicted += 1
        return made
