"""One search through the Milvus API, with what it did and why."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import msgspec
from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import MilvusException

from mishards.client import explanation
from mishards.core.errors import InternalError, InvalidParameter, Unavailable

Vector = Sequence[float]


class Sought(msgspec.Struct, frozen=True, kw_only=True):
    """What to search for.

    Attributes:
        field: empty for the only vector field.
        vector: as text.
        key: of the row whose vector is meant, where `vector` is empty; where both are, any vector.
    """

    database: str
    collection: str
    field: str
    vector: str
    key: str
    filter: str
    limit: int
    output: tuple[str, ...]


def searched(uri: str, sought: Sought) -> tuple[dict[str, Any], int]:
    """The explanation of the search, and how many hits it had.

    Raises:
        InvalidParameter: what is sought cannot be.
        Unavailable: the proxy does not answer, or refuses; says why.
        InternalError: it does not explain searches.
    """
    try:
        client = MilvusClient(uri, db_name=sought.database)
        try:
            name, query = _query(client, sought)
            result = client.search(
                sought.collection,
                [query],
                anns_field=name,
                filter=sought.filter,
                limit=sought.limit,
                output_fields=list(sought.output),
                search_params={"params": {"explain": True}},
            )
        finally:
            client.close()
    except MilvusException as error:
        raise Unavailable(f"{uri}: {error.message}") from error
    if (told := explanation(result)) is None:
        raise InternalError(f"{uri} does not explain searches: is it a proxy of Mishards?")
    return told, len(result[0])


def _query(client: MilvusClient, sought: Sought) -> tuple[str, Vector]:
    """The field to search, and what for."""
    fields = client.describe_collection(sought.collection)["fields"]
    name, dim = _field(fields, sought.field)
    if sought.vector:
        return name, numbers(sought.vector)
    if sought.key:
        primary = next(one for one in fields if one.get("is_primary"))
        return name, _vector_of(client, sought, name, primary["type"])
    return name, [random.gauss(0, 1) for _ in range(dim)]


def _field(fields: Sequence[dict[str, Any]], wanted: str) -> tuple[str, int]:
    vectors = {
        one["name"]: int(one["params"]["dim"])
        for one in fields
        if one["type"] == DataType.FLOAT_VECTOR
    }
    known = ", ".join(vectors)
    if wanted and wanted not in vectors:
        raise InvalidParameter(f"{wanted!r} is no vector field; there are {known}")
    if not wanted and len(vectors) > 1:
        raise InvalidParameter(f"name a vector field with --field: there are {known}")
    name = wanted or next(iter(vectors))
    return name, vectors[name]


def numbers(text: str) -> Vector:
    """A vector written as numbers with commas between, with or without brackets.

    Raises:
        InvalidParameter: it is none.
    """
    try:
        found = json.loads(text if text.lstrip().startswith("[") else f"[{text}]")
        return [float(number) for number in found]
    except (ValueError, TypeError):
        raise InvalidParameter(
            f"{text[:60]!r} is no vector; numbers with commas between are expected"
        ) from None


def _vector_of(client: MilvusClient, sought: Sought, field: str, kind: DataType) -> Vector:
    """The vector of the row of a key, which is a number where the primary keys are."""
    try:
        key: Any = int(sought.key) if kind == DataType.INT64 else sought.key
    except ValueError:
        raise InvalidParameter(f"{sought.key!r} is no key: the keys are numbers") from None
    rows = client.get(sought.collection, ids=[key], output_fields=[field])
    if not rows:
        raise InvalidParameter(f"no row of {sought.collection!r} has the key {sought.key!r}")
    return [float(number) for number in rows[0][field]]
