"""JSON columns as Python values, for one evaluation of a filter.

Invariants: a column is parsed at most once per evaluation, in one call to the decoder; where the
filter only asks for keys of objects, nothing else of the objects is built.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import pyarrow as pa

from mishards.core.errors import CorruptObject
from mishards.expr import plan
from mishards.expr.ast import Step
from mishards.expr.semantics import follow

_decode = msgspec.json.Decoder().decode


class JsonReader:
    """Takes the values at a filter's JSON paths out of one column.

    Attributes:
        name: of the column.
    """

    def __init__(self, name: str, paths: Iterable[tuple[Step, ...]]) -> None:
        self.name = name
        self._fields: dict[str, str] = {}
        self._keyed: Any = None
        firsts = {path[0] if path else 0 for path in paths}
        keys = sorted(key for key in firsts if isinstance(key, str))
        # msgspec takes no quotes, backslashes or control characters as names of fields.
        if len(keys) == len(firsts) and all(key.isprintable() for key in keys):
            if any(mark in key for key in keys for mark in '"\\'):
                return
            self._fields = {key: f"key{number}" for number, key in enumerate(keys)}
            row = msgspec.defstruct(
                "Row",
                [(field, Any, None) for field in self._fields.values()],
                gc=False,
                rename={field: key for key, field in self._fields.items()},
            )
            self._keyed = msgspec.json.Decoder(list[row | None])  # type: ignore[valid-type]

    def parse(self, column: pa.Array) -> list[Any]:
        """The rows of a binary column of JSON texts, for `values`.

        Raises:
            CorruptObject: a row is no JSON value.
        """
        text = b"[" + b",".join([item or b"null" for item in column.to_pylist()]) + b"]"
        try:
            rows = self._decode(text)
        except msgspec.DecodeError as error:
            raise CorruptObject(f"column {self.name!r} holds a row that is no JSON") from error
        if len(rows) != len(column):
            raise CorruptObject(f"column {self.name!r} holds a row that is no single JSON value")
        return rows

    def _decode(self, text: bytes) -> list[Any]:
        if self._keyed is not None:
            try:
                return self._keyed.decode(text)  # type: ignore[no-any-return]
            except msgspec.ValidationError:
                # Some row is no object.
                pass
        return _decode(text)  # type: ignore[no-any-return]

    def values(self, rows: list[Any], path: tuple[Step, ...]) -> list[Any]:
        """The value of each row at a path; None where there is none."""
        if not path:
            return rows
        first, rest = path[0], path[1:]
        if self._keyed is None or (rows and not self._is_keyed(rows)):
            return [follow(row, path) for row in rows]
        field = self._fields[str(first)]
        found = [None if row is None else getattr(row, field) for row in rows]
        for step in rest:
            key, only = str(step), (step,)
            found = [
                value.get(key) if type(value) is dict else follow(value, only) for value in found
            ]
        return found

    def _is_keyed(self, rows: list[Any]) -> bool:
        first = next((row for row in rows if row is not None), None)
        return first is None or isinstance(first, msgspec.Struct)


def json_readers(root: plan.Plan) -> Mapping[str, JsonReader]:
    """A reader for each JSON column of a filter."""
    paths: dict[str, set[tuple[Step, ...]]] = {}
    for node in plan.nodes(root):
        if isinstance(node, plan.JsonPath):
            paths.setdefault(node.name, set()).add(node.path)
    return {name: JsonReader(name, found) for name, found in paths.items()}


class Frame:
    """The columns that one evaluation reads."""

    def __init__(
        self, columns: Mapping[str, pa.Array], rows: int, readers: Mapping[str, JsonReader]
    ) -> None:
        self.columns = columns
        self.rows = rows
        self._readers = readers
        self._parsed: dict[str, list[Any]] = {}

    def json(self, name: str, path: tuple[Step, ...]) -> list[Any]:
        """The value of each row at a path of a JSON column."""
        reader = self._readers[name]
        if name not in self._parsed:
            self._parsed[name] = reader.parse(self.columns[name])
        return reader.values(self._parsed[name], path)
