"""Single conditions on small domains, where bounds are often met exactly: a segment with a
matching row is never ruled out, and one whose bounds exclude the constant is."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mishards.core.ids import FieldId
from mishards.core.schema import CollectionSchema, DataType, FieldSchema
from mishards.expr import compile_filter
from mishards.metadata.models import ColumnStatistics

SCHEMA = CollectionSchema(
    name="c",
    fields=(
        FieldSchema(id=FieldId(100), name="n", type=DataType.INT64, primary_key=True),
        FieldSchema(id=FieldId(101), name="f", type=DataType.DOUBLE, nullable=True),
        FieldSchema(id=FieldId(102), name="t", type=DataType.VARCHAR, nullable=True),
        FieldSchema(id=FieldId(103), name="b", type=DataType.BOOL, nullable=True),
    ),
)
DOMAINS: dict[str, list[Any]] = {
    "n": [0, 1, 2],
    "f": [0.0, 1.5, 2.0],
    "t": ["", "a", "ab", "b"],
    "b": [False, True],
}
PATTERNS = ["a%", "ab%", "a", "%b", "_b", "b%", "", "%", "a_"]


def _literal(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


@st.composite
def _conditions(draw: st.DrawFn, name: str) -> str:
    constants = st.sampled_from(DOMAINS[name]).map(_literal)
    operators = ["==", "!="] if name == "b" else ["==", "!=", "<", "<=", ">", ">="]
    forms = [
        st.tuples(st.sampled_from(operators), constants).map(lambda pair: " ".join(pair)),
        st.lists(constants, max_size=2).map(lambda values: f"in [{', '.join(values)}]"),
        st.sampled_from(["is null", "is not null"]),
    ]
    if name == "t":
        forms.append(st.sampled_from(PATTERNS).map(lambda pattern: f'like "{pattern}"'))
    text = f"{name} {draw(st.one_of(forms))}"
    return f"not ({text})" if draw(st.booleans()) else text


@settings(max_examples=600)
@given(st.data(), st.sampled_from(sorted(DOMAINS)))
def test_a_matching_row_is_never_ruled_out(data: st.DataObject, name: str) -> None:
    nullable = SCHEMA.by_name[name].nullable
    value = st.sampled_from(DOMAINS[name])
    values = data.draw(st.lists(st.none() | value if nullable else value, min_size=1, max_size=3))
    text = data.draw(_conditions(name))
    present = [item for item in values if item is not None]
    statistics = ColumnStatistics(
        low=min(present, default=None),
        high=max(present, default=None),
        nulls=len(values) - len(present),
    )

    compiled = compile_filter(text, SCHEMA)
    may = compiled.may_match({name: statistics}, len(values))

    assert may or not any(compiled.matches({name: item}) for item in values)


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_a_constant_outside_the_bounds_rules_out(first: int, second: int, wanted: int) -> None:
    low, high = sorted((first, second))
    statistics = {"n": ColumnStatistics(low=low, high=high)}
    for text in (f"n == {wanted}", f"n in [{wanted}]"):
        may = compile_filter(text, SCHEMA).may_match(statistics, 5)
        assert may == (low <= wanted <= high)
