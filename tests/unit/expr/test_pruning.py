"""Statistics rule out a segment exactly where no row can match."""

from __future__ import annotations

import pytest

from mishards.core.schema import CollectionSchema
from mishards.expr import compile_filter
from mishards.metadata.models import ColumnStatistics

STATISTICS = {
    "age": ColumnStatistics(low=10, high=20),
    "small": ColumnStatistics(nulls=100),
    "price": ColumnStatistics(low=1.0, high=1.0),
    "name": ColumnStatistics(low="kiwi", high="pear", nulls=5),
    "flag": ColumnStatistics(low=True, high=True),
    "id": ColumnStatistics(low=7, high=7),
    "meta": ColumnStatistics(nulls=3),
    "numbers": ColumnStatistics(nulls=3),
}


@pytest.mark.parametrize(
    "text",
    [
        "age < 10",
        "age > 20",
        "age == 21",
        "20 < age",
        "age in [1, 2, 30]",
        "age in []",
        "0 < age < 10",
        "age > 20 or age < 10",
        "age > 15 and age > 20",
        "not (age >= 10)",
        "not (age < 30 or flag)",
        "small == 5",
        "not (small == 5)",
        "small not in [5]",
        "small is not null",
        "name > 'plum'",
        "name like 'apple%'",
        "name like 'zebra'",
        "not flag",
        "flag == false",
        "flag != true",
        "id != 7",
        "id not in [6, 7]",
        "age is null",
        "false",
    ],
)
def test_ruled_out(text: str, schema: CollectionSchema) -> None:
    assert not compile_filter(text, schema).may_match(STATISTICS, 100)


@pytest.mark.parametrize(
    "text",
    [
        "age <= 10",
        "age >= 20",
        "age == 15",
        "age != 10",
        "age in [1, 12]",
        "age not in [10]",
        "not (age > 10)",
        "age > 20 or age == 12",
        "small is null",
        "name is null",
        "name is not null",
        "name like 'ki%'",
        "name like '%x'",
        "name like 'p_ar'",
        "not (name like 'ki%')",
        "price != 1.0",
        "not (price == 1.0)",
        "flag",
        "id == 7",
        "meta['a'] == 1",
        "meta is null",
        "numbers[0] == 1",
        "array_contains(numbers, 1)",
        "age + 1 > 100",
        "words == []",
        "color == 1",
        "rate > 1e10",
        "true",
        "",
    ],
)
def test_kept(text: str, schema: CollectionSchema) -> None:
    assert compile_filter(text, schema).may_match(STATISTICS, 100)


def test_no_rows_match_nothing(schema: CollectionSchema) -> None:
    assert not compile_filter("", schema).may_match({}, 0)
