"""Indexes: create, drop. Source: https://milvus.io/docs/index-vector-fields.md"""

from __future__ import annotations

from collections.abc import Mapping

from mishards.core.errors import (
    FieldNotFound,
    IndexDuplicate,
    IndexNotSupported,
    InvalidParameter,
)
from mishards.core.ids import IndexId
from mishards.core.schema import FieldSchema, Metric, check_name
from mishards.index.registry import AUTOINDEX, family
from mishards.metadata.models import CollectionMeta, IndexMeta
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.rpc.messages import CreateIndex, DropIndex
from mishards.writer.ddl_collections import changed, named
from mishards.writer.edit import NOTHING, Edit, Fresh

DEFAULT_METRIC = Metric.COSINE


def create_index(snapshot: MetadataSnapshot, message: CreateIndex, fresh: Fresh) -> Edit:
    """Creating the same index again succeeds.

    Raises:
        DatabaseNotFound, CollectionNotFound, FieldNotFound, IndexNotSupported, InvalidParameter.
        IndexDuplicate: the field has another index, or another field's index has the name.
    """
    meta = named(snapshot, message.database, message.collection).meta
    field = meta.schema.by_name.get(message.field)
    if field is None:
        known = ", ".join(field.name for field in meta.schema.fields)
        raise FieldNotFound(
            f"cannot create index on non-exist field: {message.field}; fields are: {known}"
        )
    name = message.name or field.name
    check_name("index", name, InvalidParameter)
    wanted = _index(field, name, message.params)
    if (old := meta.index_by_field.get(field.name)) is not None:
        return _existing(old, wanted)
    if any(index.name == name for index in meta.indexes):
        raise IndexDuplicate(
            f"CreateIndex failed: index name {name!r} is taken by an index of another field"
        )
    now = fresh()
    index = IndexMeta(
        id=IndexId(now),
        name=name,
        field_id=field.id,
        field=field.name,
        requested=wanted.requested,
        family=wanted.family,
        metric=wanted.metric,
        params=wanted.params,
        given=message.given,
        created=now,
    )
    return Edit((changed(meta, indexes=(*meta.indexes, index), updated=now),))


def _index(field: FieldSchema, name: str, params: Mapping[str, str]) -> IndexMeta:
    """What the parameters ask for; id and time are not given yet."""
    requested = params.get("index_type", "") or AUTOINDEX
    if not field.type.is_vector:
        raise IndexNotSupported(
            f"index type {requested} on field {field.name!r} of type {field.type.name} is not "
            "supported; only vector fields can have an index"
        )
    found = family(requested)
    rest = {key: value for key, value in params.items() if key not in ("index_type", "metric_type")}
    checked = found.check_build(rest, field.dim)
    return IndexMeta(
        id=IndexId(0),
        name=name,
        field_id=field.id,
        field=field.name,
        requested=requested,
        family=found.name,
        metric=_metric(params.get("metric_type", "")),
        params=tuple(sorted(checked.items())),
    )


def _metric(name: str) -> Metric:
    if not name:
        return DEFAULT_METRIC
    try:
        return Metric(name.upper())
    except ValueError as error:
        raise InvalidParameter(
            f"invalid metric type {name!r} of a float vector index; allowed are {', '.join(Metric)}"
        ) from error


def _existing(old: IndexMeta, wanted: IndexMeta) -> Edit:
    def terms(index: IndexMeta) -> tuple[object, ...]:
        return index.name, index.requested, index.family, index.metric, index.params

    if terms(old) != terms(wanted):
        raise IndexDuplicate(
            "CreateIndex failed: at most one distinct index is allowed per field; "
            f"field {old.field!r} has {old.name!r} ({old.requested}, {old.metric}, "
            f"{dict(old.params)})"
        )
    return NOTHING


def drop_index(snapshot: MetadataSnapshot, message: DropIndex, fresh: Fresh) -> Edit:
    """Dropping a missing index succeeds.

    Raises:
        DatabaseNotFound, CollectionNotFound.
        InvalidParameter: the collection is loaded.
    """
    meta = named(snapshot, message.database, message.collection).meta
    if (index := find_index(meta, message.name, message.field)) is None:
        return NOTHING
    if meta.loaded_partitions:
        raise InvalidParameter(
            "index cannot be dropped, collection is loaded, please release it first: "
            f"index {index.name!r} of collection {meta.name!r}"
        )
    rest = tuple(other for other in meta.indexes if other.id != index.id)
    return Edit((changed(meta, indexes=rest, updated=fresh()),))


def find_index(meta: CollectionMeta, name: str, field: str) -> IndexMeta | None:
    """The index of that name or, without a name, of that field."""
    if not name:
        return meta.index_by_field.get(field)
    return next((index for index in meta.indexes if index.name == name), None)
