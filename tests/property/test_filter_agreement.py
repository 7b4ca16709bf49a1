"""Random schemas, rows and filters: the Arrow mask is what the row evaluator says of each row,
and statistics never rule out a segment that has a matching row."""

from __future__ import annotations

from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from mishards.core.columns import arrow_type
from mishards.core.errors import FilterError
from mishards.core.ids import FieldId
from mishards.core.schema import (
    DYNAMIC_FIELD,
    CollectionSchema,
    DataType,
    FieldSchema,
    dynamic_field,
    integer_range,
)
from mishards.expr import Filter, compile_filter
from mishards.metadata.models import ColumnStatistics

INTEGERS = [DataType.INT8, DataType.INT16, DataType.INT32, DataType.INT64]
SCALARS = [*INTEGERS, DataType.FLOAT, DataType.DOUBLE, DataType.VARCHAR, DataType.BOOL]
TEXTS = st.text("ab%_\\é\n", max_size=4)
OPERATORS = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
EQUALITIES = st.sampled_from(["==", "!="])


def _integers(data_type: DataType) -> st.SearchStrategy[int]:
    low, high = integer_range(data_type)
    return st.integers(-4, 4) | st.sampled_from([low, high])


def _floats(width: int) -> st.SearchStrategy[float]:
    return st.sampled_from([0.0, -0.0, 0.1, 0.5, -1.0, 2.0, 1e30]).map(
        lambda value: pa.scalar(value, pa.float32()).as_py() if width == 32 else value
    ) | st.floats(width=width, allow_infinity=False)


VALUES: dict[DataType, st.SearchStrategy[Any]] = {
    **{data_type: _integers(data_type) for data_type in INTEGERS},
    DataType.FLOAT: _floats(32),
    DataType.DOUBLE: _floats(64),
    DataType.VARCHAR: TEXTS,
    DataType.BOOL: st.booleans(),
}
JSON_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, 1.0, 2.5]), TEXTS
)
JSON_VALUES = st.recursive(
    JSON_SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "0"]), inner, max_size=3)
    ),
    max_leaves=5,
)
JSON_OBJECTS = st.dictionaries(st.sampled_from(["a", "b", "c", "0"]), JSON_VALUES, max_size=3)


@st.composite
def schemas(draw: st.DrawFn) -> CollectionSchema:
    fields = [FieldSchema(id=FieldId(100), name="id", type=DataType.INT64, primary_key=True)]
    for data_type in draw(st.lists(st.sampled_from(SCALARS), max_size=4)):
        name, nullable = f"s{len(fields)}", draw(st.booleans())
        at = FieldId(100 + len(fields))
        fields.append(FieldSchema(id=at, name=name, type=data_type, nullable=nullable))
    for element in draw(st.lists(st.sampled_from(SCALARS), max_size=1)):
        at = FieldId(100 + len(fields))
        fields.append(
            FieldSchema(id=at, name="arr", type=DataType.ARRAY, element_type=element, nullable=True)
        )
    if draw(st.booleans()):
        at = FieldId(100 + len(fields))
        fields.append(FieldSchema(id=at, name="meta", type=DataType.JSON, nullable=True))
    dynamic = draw(st.booleans())
    if dynamic:
        fields.append(dynamic_field(FieldId(100 + len(fields))))
    return CollectionSchema(name="c", fields=tuple(fields), dynamic=dynamic)


def _value(field: FieldSchema) -> st.SearchStrategy[Any]:
    if field.type is DataType.ARRAY:
        assert field.element_type is not None
        found: st.SearchStrategy[Any] = st.lists(VALUES[field.element_type], max_size=3)
    elif field.type is DataType.JSON:
        found = JSON_OBJECTS if field.dynamic else JSON_VALUES
    else:
        found = VALUES[field.type]
    return st.none() | found if field.nullable else found


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return "true" if value is True else "false" if value is False else repr(value)


def _constants(data_type: DataType) -> st.SearchStrategy[str]:
    if data_type in INTEGERS:
        return st.sampled_from([-(1 << 63), 1000, (1 << 63) - 1]).map(_literal) | st.integers(
            -4, 4
        ).map(_literal)
    return VALUES[data_type].filter(lambda value: value == value).map(_literal)


@st.composite
def _arithmetic(draw: st.DrawFn, names: list[str], whole: bool) -> str:
    operators = ["+", "-", "*", "/", "%"] if whole else ["+", "-", "*", "/", "**"]
    text = draw(st.sampled_from(names))
    for _ in range(draw(st.integers(1, 2))):
        other = draw(st.sampled_from(names) | st.integers(-3, 3).map(str))
        text = f"({text} {draw(st.sampled_from(operators))} {other})"
    return text


@st.composite
def _scalar_term(draw: st.DrawFn, name: str, data_type: DataType, schema: CollectionSchema) -> str:
    constants = _constants(data_type)
    forms = ["compare", "in", "null"]
    if data_type.is_number:
        forms += ["chain", "arithmetic", "columns"]
    if data_type is DataType.VARCHAR:
        forms += ["like", "like"]
    match draw(st.sampled_from(forms)):
        case "compare":
            operator = draw(EQUALITIES if data_type is DataType.BOOL else OPERATORS)
            return f"{name} {operator} {draw(constants)}"
        case "in":
            values = draw(st.lists(constants, max_size=20))
            return f"{name} {draw(st.sampled_from(['in', 'not in']))} [{', '.join(values)}]"
        case "null":
            return f"{name} is {draw(st.sampled_from(['null', 'not null']))}"
        case "chain":
            return f"{draw(constants)} < {name} <= {draw(constants)}"
        case "like":
            return f"{name} like {_literal(draw(TEXTS))}"
        case form:
            numbers = {f.name: f.type for f in schema.fields if f.type.is_number}
            if form == "columns":
                other = draw(st.sampled_from(sorted(numbers)))
                return f"{name} {draw(OPERATORS)} {other}"
            whole = sorted(other for other in numbers if numbers[other].is_integer)
            is_whole = data_type.is_integer and name in whole
            left = draw(_arithmetic(whole if is_whole else sorted(numbers), is_whole))
            right = draw(st.integers(-4, 4).map(str) | st.sampled_from(sorted(numbers)))
            return f"{left} {draw(OPERATORS)} {right}"


@st.composite
def _array_term(draw: st.DrawFn, element: DataType, schema: CollectionSchema) -> str:
    constants = _constants(element)
    match draw(st.sampled_from(["element", "contains", "many", "length", "whole", "null"])):
        case "element":
            return draw(_scalar_term(f"arr[{draw(st.integers(0, 3))}]", element, schema))
        case "contains":
            return f"array_contains(arr, {draw(constants)})"
        case "many":
            values = draw(st.lists(constants, max_size=3))
            kind = draw(st.sampled_from(["all", "any"]))
            return f"array_contains_{kind}(arr, [{', '.join(values)}])"
        case "length":
            return f"array_length(arr) {draw(OPERATORS)} {draw(st.integers(0, 3))}"
        case "whole":
            values = draw(st.lists(constants, max_size=2))
            return f"arr {draw(EQUALITIES)} [{', '.join(values)}]"
    return "arr is null"


@st.composite
def _json_term(draw: st.DrawFn, name: str) -> str:
    steps = draw(st.lists(st.sampled_from(['["a"]', '["b"]', "[0]", '["0"]']), max_size=2))
    if name == DYNAMIC_FIELD:
        name = draw(st.sampled_from(["a", "b", '$meta["c"]']))
    place = name + "".join(steps)
    scalar = JSON_SCALARS.filter(lambda value: value is not None)
    constants = (scalar | st.lists(scalar, max_size=2)).map(_literal)
    forms = ["compare", "in", "like", "null", "contains", "many", "length", "arithmetic"]
    match draw(st.sampled_from(forms)):
        case "compare":
            return f"{place} {draw(OPERATORS)} {draw(constants)}"
        case "in":
            values = draw(st.lists(constants, max_size=4))
            return f"{place} {draw(st.sampled_from(['in', 'not in']))} [{', '.join(values)}]"
        case "like":
            return f"{place} like {_literal(draw(TEXTS))}"
        case "null":
            return f"{place} is null"
        case "contains":
            return f"json_contains({place}, {draw(constants)})"
        case "many":
            values = draw(st.lists(constants, max_size=3))
            kind = draw(st.sampled_from(["all", "any"]))
            return f"json_contains_{kind}({place}, [{', '.join(values)}])"
        case "length":
            return f"array_length({place}) {draw(OPERATORS)} {draw(st.integers(0, 3))}"
    operator = draw(st.sampled_from(["+", "-", "*", "/", "%", "**"]))
    return f"{place} {operator} {draw(st.integers(1, 3))} {draw(OPERATORS)} 2"


@st.composite
def _term(draw: st.DrawFn, schema: CollectionSchema) -> str:
    field = draw(st.sampled_from(schema.fields))
    if field.type is DataType.JSON:
        return draw(_json_term(field.name))
    if field.type is DataType.ARRAY:
        assert field.element_type is not None
        return draw(_array_term(field.element_type, schema))
    return draw(_scalar_term(field.name, field.type, schema))


def _filters(schema: CollectionSchema) -> st.SearchStrategy[str]:
    return st.recursive(
        _term(schema),
        lambda inner: st.one_of(
            inner.map(lambda text: f"not ({text})"),
            st.lists(inner, min_size=2, max_size=3).map(lambda terms: f"({' and '.join(terms)})"),
            st.lists(inner, min_size=2, max_size=3).map(lambda terms: f"({' or '.join(terms)})"),
        ),
        max_leaves=5,
    )


def _column(field: FieldSchema, values: list[Any]) -> pa.Array:
    if field.type is DataType.JSON:
        values = [
            None if value is None and field.nullable else msgspec.json.encode(value)
            for value in values
        ]
    # A slice of a longer column, as a reader of part of a segment has it.
    padding = values[:1] or [None]
    return pa.array([*padding, *values, *padding], arrow_type(field)).slice(1, len(values))


def _statistics(field: FieldSchema, column: pa.Array) -> ColumnStatistics:
    if field.type in (DataType.JSON, DataType.ARRAY):
        return ColumnStatistics(nulls=column.null_count)
    bounds = pc.min_max(column).as_py()
    return ColumnStatistics(low=bounds["min"], high=bounds["max"], nulls=column.null_count)


EXPECTED = ("division by zero", "64 bits can hold", "only == and !=", "cannot be compared")
"""Faults that the terms above may hold by chance; any other means that they are not valid."""


def _compiled(text: str, schema: CollectionSchema) -> Filter | None:
    try:
        return compile_filter(text, schema)
    except FilterError as error:
        if any(reason in error.message for reason in EXPECTED):
            return None
        raise


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_both_evaluators_agree_and_pruning_is_safe(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    count = data.draw(st.integers(0, 6))
    rows = [{f.name: data.draw(_value(f)) for f in schema.fields} for _ in range(count)]
    text = data.draw(_filters(schema))
    compiled = _compiled(text, schema)
    if compiled is None:
        reject()

    columns = {f.name: _column(f, [row[f.name] for row in rows]) for f in schema.fields}
    mask = compiled.mask({name: columns[name] for name in compiled.columns}, count)
    assert mask.tolist() == [compiled.matches(row) for row in rows]

    statistics = {f.name: _statistics(f, columns[f.name]) for f in schema.fields}
    assert compiled.may_match(statistics, count) or not mask.any()
