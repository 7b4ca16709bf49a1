"""Output fields: what a client wrote, as columns to read and names to answer with."""

from __future__ import annotations

import pytest

from mishards.core.errors import FieldNotFound
from mishards.core.ids import FieldId
from mishards.core.schema import CollectionSchema, DataType, FieldSchema, dynamic_field
from mishards.proxy.output import plan_output

FIELDS = (
    FieldSchema(id=FieldId(100), name="id", type=DataType.INT64, primary_key=True),
    FieldSchema(id=FieldId(101), name="vector", type=DataType.FLOAT_VECTOR, dim=4),
)
DYNAMIC = CollectionSchema(name="c", fields=(*FIELDS, dynamic_field(FieldId(102))), dynamic=True)
PLAIN = CollectionSchema(name="c", fields=FIELDS)


@pytest.mark.parametrize("wanted", [["*"], ["*", "color"], ["color", "*"]])
def test_all_fields_are_all_dynamic_keys_whatever_else_is_named(wanted: list[str]) -> None:
    plan = plan_output(DYNAMIC, wanted, with_primary=False)
    assert set(plan.names) == {"id", "vector", "$meta"}
    assert plan.columns == ("id", "vector", "$meta")
    assert plan.dynamic_keys is None


@pytest.mark.parametrize("wanted", [["$meta"], ["$meta", "color"], ["color", "$meta"]])
def test_the_dynamic_field_itself_is_all_its_keys(wanted: list[str]) -> None:
    plan = plan_output(DYNAMIC, wanted, with_primary=False)
    assert (plan.names, plan.columns, plan.dynamic_keys) == (("$meta",), ("$meta",), None)


def test_named_dynamic_keys_are_listed_in_their_order() -> None:
    plan = plan_output(DYNAMIC, ["size", '$meta["color"]', "id"], with_primary=False)
    assert plan.names == ("id", "size", "color")
    assert plan.columns == ("id", "$meta")
    assert plan.dynamic_keys == {"size", "color"}


def test_an_unknown_name_without_a_dynamic_field_is_an_error() -> None:
    with pytest.raises(FieldNotFound, match=r"'color'.*id, vector"):
        plan_output(PLAIN, ["*", "color"], with_primary=True)
