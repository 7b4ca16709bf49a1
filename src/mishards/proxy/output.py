"""Output fields: from the names a client wrote to physical columns, and back.

Dynamic keys live in the `$meta` column as one JSON object per row; `cut_dynamic` reduces it to the
keys that were asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pyarrow as pa

from mishards.core.errors import FieldNotFound
from mishards.core.schema import DYNAMIC_FIELD, CollectionSchema


class OutputPlan(msgspec.Struct, frozen=True):
    """Which columns to read and what to call the answer.

    Attributes:
        names: as the answer lists them: fields, and dynamic keys; no keys where all are wanted,
            because clients cut an answer to the keys that it lists.
        columns: physical columns, in schema order.
        dynamic_keys: keys to keep of `$meta`; None for all of them.
    """

    names: tuple[str, ...]
    columns: tuple[str, ...]
    dynamic_keys: frozenset[str] | None


def plan_output(
    schema: CollectionSchema, wanted: Sequence[str], *, with_primary: bool
) -> OutputPlan:
    """Resolve `*`, field names and dynamic keys.

    Args:
        with_primary: whether the primary key is always part of the answer.

    Raises:
        FieldNotFound: a name is neither a field nor, without a dynamic field, allowed.
    """
    names: dict[str, None] = {}
    keys: dict[str, None] = {}
    whole = False
    if with_primary:
        names[schema.primary.name] = None
    for name in wanted:
        if name == "*":
            names.update((f.name, None) for f in schema.fields)
            whole = whole or schema.dynamic
        elif name in schema.by_name:
            names[name] = None
            whole = whole or name == DYNAMIC_FIELD
        elif schema.dynamic:
            keys[_dynamic_key(name)] = None
        else:
            raise FieldNotFound(
                f"field {name!r} does not exist in collection {schema.name!r}; "
                f"its fields are {', '.join(schema.by_name)}"
            )
    columns = tuple(
        f.name for f in schema.fields if f.name in names or (f.dynamic and (keys or whole))
    )
    if whole:
        return OutputPlan(tuple(names), columns, None)
    return OutputPlan((*names, *keys), columns, frozenset(keys))


def _dynamic_key(name: str) -> str:
    """The key of `$meta["key"]` or of a bare name."""
    for quote in "\"'":
        opening, closing = f"{DYNAMIC_FIELD}[{quote}", f"{quote}]"
        if name.startswith(opening) and name.endswith(closing):
            return name[len(opening) : -len(closing)]
    return name


def cut_dynamic(batch: pa.RecordBatch, plan: OutputPlan) -> pa.RecordBatch:
    """The batch with `$meta` reduced to the keys asked for."""
    if plan.dynamic_keys is None or DYNAMIC_FIELD not in plan.columns:
        return batch
    place = batch.schema.get_field_index(DYNAMIC_FIELD)
    decode, encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode
    cut = [
        encode({k: v for k, v in (decode(text) if text else {}).items() if k in plan.dynamic_keys})
        for text in batch.column(place).to_pylist()
    ]
    return batch.set_column(place, DYNAMIC_FIELD, pa.array(cut, pa.binary()))
