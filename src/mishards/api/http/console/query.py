"""What the playground is asked, as it was typed, and the calls that this means. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec
import numpy as np

from mishards.core.errors import InvalidParameter
from mishards.core.schema import CollectionSchema, DataType, FieldSchema
from mishards.metadata.snapshot import CollectionView
from mishards.proxy.calls import QueryCall, SearchCall

TIMEOUT_S = 15.0
MOST_HITS = 100
_RANDOM_OF = 1000
"""A random row is one of so many."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The playground's form as it was sent; every value as text.

    Attributes:
        collection: as `database/name`.
        by: `id`, `vector` or `random`.
        output: field names, separated by commas; empty for all but vectors.
        params: of the search, as JSON.
    """

    collection: str = ""
    field: str = ""
    by: str = "random"
    id: str = ""
    vector: str = ""
    filter: str = ""
    limit: str = "10"
    output: str = ""
    params: str = ""

    @classmethod
    def of(cls, form: Mapping[str, str]) -> Asked:
        """What a form holds of it; anything else is ignored."""
        return cls(**{key: form[key].strip() for key in cls.__struct_fields__ if key in form})

    @property
    def database(self) -> str:
        return self.collection.partition("/")[0]

    @property
    def name(self) -> str:
        return self.collection.partition("/")[2]


def vector_field(schema: CollectionSchema, name: str) -> FieldSchema:
    """The vector field to search in.

    Raises:
        InvalidParameter: there is none of that name.
    """
    found = next((field for field in schema.vectors if not name or field.name == name), None)
    if found is None:
        names = ", ".join(field.name for field in schema.vectors)
        raise InvalidParameter(f"{name!r} is no vector field; there are {names}")
    return found


def row_call(asked: Asked, view: CollectionView, chance: float) -> QueryCall:
    """The call that finds the row whose vector is searched with.

    Args:
        chance: from 0 to 1: which row, where a random one is asked for.

    Raises:
        InvalidParameter: the id is none of the collection.
    """
    key = view.schema.primary
    if asked.by == "random":
        rows = sum(segment.rows for segment in view.segments.values())
        return QueryCall(
            database=asked.database,
            collection=asked.name,
            timeout_s=TIMEOUT_S,
            output=(key.name,),
            limit=1,
            offset=int(chance * min(rows, _RANDOM_OF)),
        )
    return QueryCall(
        database=asked.database,
        collection=asked.name,
        timeout_s=TIMEOUT_S,
        filter=f"{key.name} in [{key_literal(key, asked.id)}]",
        output=(key.name, vector_field(view.schema, asked.field).name),
        limit=1,
    )


def key_literal(key: FieldSchema, text: str) -> str:
    """A primary key as the filter language writes it.

    Raises:
        InvalidParameter: it is of another type.
    """
    if key.type is DataType.VARCHAR:
        return json.dumps(text, ensure_ascii=False)
    try:
        return str(int(text))
    except ValueError:
        raise InvalidParameter(f"id {text[:40]!r} is no integer, as {key.name!r} is") from None


def typed_vector(asked: Asked, field: FieldSchema) -> bytes:
    """The vector as it was typed: numbers separated by commas or blanks, in brackets or not.

    Raises:
        InvalidParameter: something in it is no number, or there are too few or too many.
    """
    words = asked.vector.strip("[]() \n\r\t").replace(",", " ").split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        wrong = next(word for word in words if not _is_number(word))
        raise InvalidParameter(f"the vector has {wrong[:40]!r}, which is no number") from None
    if len(numbers) != field.dim:
        raise InvalidParameter(
            f"the vector has {len(numbers)} numbers; field {field.name!r} has {field.dim}"
        )
    return np.array(numbers, np.float32).tobytes()


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def search_call(asked: Asked, view: CollectionView, vector: bytes) -> SearchCall:
    """The search.

    Raises:
        InvalidParameter: a value is of the wrong kind or out of range.
    """
    schema = view.schema
    output = [name.strip() for name in asked.output.split(",") if name.strip()]
    if not output:
        output = [field.name for field in schema.scalars if not field.dynamic]
    return SearchCall(
        database=asked.database,
        collection=asked.name,
        timeout_s=TIMEOUT_S,
        field=vector_field(schema, asked.field).name,
        queries=vector,
        nq=1,
        limit=_limit(asked.limit),
        filter=asked.filter,
        output=tuple(output),
        params=_params(asked.params),
    )


def _limit(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MOST_HITS:
        return int(text)
    raise InvalidParameter(f"limit {text[:40]!r}: from 1 to {MOST_HITS} is allowed here")


def _params(text: str) -> dict[str, object]:
    if not text:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InvalidParameter('search parameters are a JSON object, such as {"ef": 100}')
    return found
