"""Whatever text comes as a filter: it compiles and runs, or is refused with a FilterError."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from mishards.core.errors import FilterError
from mishards.core.ids import FieldId
from mishards.core.schema import CollectionSchema, DataType, FieldSchema, dynamic_field
from mishards.expr import compile_filter

SCHEMA = CollectionSchema(
    name="c",
    dynamic=True,
    fields=(
        FieldSchema(id=FieldId(100), name="id", type=DataType.INT64, primary_key=True),
        FieldSchema(id=FieldId(101), name="name", type=DataType.VARCHAR, max_length=9),
        FieldSchema(id=FieldId(102), name="price", type=DataType.FLOAT, nullable=True),
        FieldSchema(id=FieldId(103), name="flag", type=DataType.BOOL),
        FieldSchema(id=FieldId(104), name="arr", type=DataType.ARRAY, element_type=DataType.INT16),
        FieldSchema(id=FieldId(105), name="vec", type=DataType.FLOAT_VECTOR, dim=2),
        dynamic_field(FieldId(106)),
    ),
)
COLUMNS = {
    "id": pa.array([1, 2]),
    "name": pa.array(["a", "b%"]),
    "price": pa.array([None, 0.5], pa.float32()),
    "flag": pa.array([True, False]),
    "arr": pa.array([[1, 2], []], pa.list_(pa.int16())),
    "$meta": pa.array([b'{"x":1}', b'{"y":[1,"a"]}'], pa.binary()),
}
ROWS: list[dict[str, Any]] = [
    {"id": 1, "name": "a", "price": None, "flag": True, "arr": [1, 2], "$meta": {"x": 1}},
    {"id": 2, "name": "b%", "price": 0.5, "flag": False, "arr": [], "$meta": {"y": [1, "a"]}},
]
NAMES = ["id", "name", "price", "flag", "arr", "vec", "x", "y", "$meta", "{t}", "{u}"]
KEYWORDS = ["and", "or", "not", "in", "like", "is null", "is", "AND", "NOT", "exists", "true"]
FUNCTIONS = ["array_contains", "json_contains_any", "array_length", "(", ")", "[", "]", ","]
NUMBERS = ["0", "1", "-1", "0x1F", "1e3", ".5", "9223372036854775807", "9223372036854775808"]
BROKEN = ["07", "09", "'open", "'\\ud800'", "=", "&", "\\", "é", "#", "is_not", "False", "[,]"]
TEXTS = ["'a'", '"b%"', "'\\n'", "[1,2]", "['a',true]", "[0]", '["x"]', "[]"]
OPERATORS = ["==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "**", "!", "&&", "||"]
WORDS = st.sampled_from([*NAMES, *KEYWORDS, *FUNCTIONS, *NUMBERS, *BROKEN, *TEXTS, *OPERATORS])
TEMPLATES = st.fixed_dictionaries(
    {},
    optional={
        "t": st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        "u": st.lists(st.integers() | st.text() | st.lists(st.booleans()), max_size=3),
    },
)


def _try(text: str, templates: dict[str, Any]) -> None:
    try:
        compiled = compile_filter(text, SCHEMA, templates)
    except FilterError as error:
        if not error.message.startswith("cannot parse expression: "):
            raise
        return
    mask = compiled.mask(COLUMNS, 2)
    assert mask.tolist() == [compiled.matches(row) for row in ROWS]
    compiled.may_match({}, 2)
    compiled.primary_keys()


@settings(max_examples=500)
@given(st.lists(WORDS, max_size=12), TEMPLATES)
def test_random_words(words: list[str], templates: dict[str, Any]) -> None:
    _try(" ".join(words), templates)


@settings(max_examples=300)
@given(st.text(st.characters(codec=None), max_size=40))
def test_random_text(text: str) -> None:
    _try(text, {})


@settings(max_examples=300)
@given(
    st.sampled_from(
        [
            "id in [1, 2] and not (name like 'a%' or price > 0.5)",
            "x == 1 || y[0] == 1 && json_contains_any($meta['y'], [1, 'a'])",
            "1 < id <= 5 and array_length(arr) == 2 and arr[0] is not null",
        ]
    ),
    st.integers(0, 60),
    st.integers(0, 4),
    st.text(max_size=4),
)
def test_a_filter_with_a_damaged_place(text: str, at: int, cut: int, inserted: str) -> None:
    _try(text[:at] + inserted + text[at + cut :], {})
