"""Each broken filter is a FilterError that says what is wrong and points at it."""

from __future__ import annotations

from typing import Any

import pytest

from mishards.core.errors import FilterError
from mishards.core.schema import CollectionSchema
from mishards.expr import compile_filter


def _failure(
    text: str, schema: CollectionSchema, templates: dict[str, Any] | None = None
) -> tuple[str, str]:
    """The message, and the rest of the text from the caret on."""
    with pytest.raises(FilterError) as caught:
        compile_filter(text, schema, templates)
    message, line, caret = caught.value.message.split("\n")
    return message, line[caret.index("^") :]


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("age =", "=", "'=' is no operator"),
        ("age = 5", "= 5", "'==' compares"),
        ("age == ", "", "ends too early"),
        ("age == 1)", ")", "unexpected ')'"),
        ("((age == 1)", "", "ends too early"),
        ("age == 1 and", "", "ends too early"),
        ("and age == 1", "and age == 1", "unexpected 'and'"),
        ("age == 1 age == 2", "age == 2", "unexpected 'age'"),
        ('name == "open', '"open', "without its closing"),
        ("age # 1", "# 1", "unexpected character '#'"),
        ("age == 12abc", "abc", "unexpected 'abc'"),
        ("numbers[-1] == 1", "-1] == 1", "unexpected '-'"),
        ("age In [1]", "In [1]", "unexpected 'In'"),
        ("age in (1, 2)", ", 2)", "unexpected ','"),
        ("age & 1", "& 1", "unexpected character '&'"),
        (r'name == "\ud800"', r'\ud800"', "no character"),
        ("age == 99999999999999999999", "99999999999999999999", "outside the 64-bit"),
        ("id == 9223372036854775808", "== 9223372036854775808", "64-bit integer"),
        ("id in [1, 99999999999999999999]", "[1, 999", "outside the 64-bit"),
        ("age == " + "9" * 100, "999", "100 digits"),
        ("price > 1e999", "1e999", "too large"),
    ],
)
def test_text_that_does_not_parse(text: str, at: str, words: str, schema: CollectionSchema) -> None:
    message, rest = _failure(text, schema)
    assert words in message
    assert rest.startswith(at) if at else not rest


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("age > 1.5", "> 1.5", "field 'age' (INT32) cannot be compared with 1.5; a 64-bit integer"),
        ("name > 5", "> 5", "field 'name' (VARCHAR) cannot be compared with 5; a text"),
        ("age == 'x'", "== 'x'", "field 'age' (INT32)"),
        ("age == true", "== true", "cannot be compared with True"),
        ("flag == 1", "== 1", "field 'flag' (BOOL)"),
        ("flag > true", "> true", "only == and !="),
        ("name == age", "== age", "field 'name' (VARCHAR) cannot be compared with field 'age'"),
        ("meta['a'] == n", "== n", "cannot be compared"),
        ("age in [1, 'x']", "[1, 'x']", "cannot be compared with 'x'"),
        ("age in 5", "5", "a list is expected"),
        ("age in [flag]", "flag]", "only constants"),
        ("5 in [5]", "5 in", "a field is expected"),
        ("numbers in [1]", "numbers", "array_contains_any"),
        ("age like 'x'", "like", "only VARCHAR and JSON"),
        ("name like 5", "5", "a text is expected"),
        ("name like name", "name", "a text is expected"),
        ("age", "age", "no condition"),
        ("age + 1", "+ 1", "no condition"),
        ("meta['a']", "meta['a']", "no condition"),
        ("not age", "age", "no condition"),
        ("5", "5", "no condition"),
        ("age and flag", "age and", "no condition"),
        ("(age > 1) == true", "> 1)", "a condition stands where a value"),
        ("1 < age > 0", "< age", "a chain is of"),
        ("1 == 'x'", "== 'x'", "nothing comparable"),
        ("true < false", "< false", "nothing comparable"),
        ("vector == 1", "vector", "vectors cannot be filtered by"),
        ("name['a'] == 1", "name['a']", "only JSON and ARRAY"),
        ("numbers['a'] == 1", "numbers['a']", "one integer index"),
        ("numbers[0][1] == 1", "numbers[0]", "one integer index"),
        ("numbers > [1]", "> [1]", "only == and !="),
        ("numbers == 1", "== 1", "a list is allowed"),
        ("numbers == ['x']", "== ['x']", "cannot be compared"),
        ("name + 1 == 2", "+ 1", "only numbers and JSON"),
        ("price % 2 == 0", "% 2", "only integers"),
        ("age / 0 == 1", "/ 0", "division by zero"),
        ("age % (1 - 1) == 1", "% (1", "division by zero"),
        ("age == 9223372036854775807 + 1", "+ 1", "64 bits can hold"),
        ("age == 10.0 ** 400", "** 400", "64 bits can hold"),
        ("age is not null is null", "is null", "unexpected 'is null'"),
        ("5 is null", "is null", "only fields"),
        ("exists age", "age", "only keys of JSON"),
        ("exists meta", "meta", "only keys of JSON"),
        ("nothing(age)", "nothing(age)", "unknown function 'nothing'; known are: array_contains"),
        ("array_contains(numbers)", "array_contains(", "takes 2 arguments, not 1"),
        ("array_contains(numbers, 'x')", "'x')", "cannot hold 'x'"),
        ("array_contains(numbers, age)", "age)", "a constant is expected"),
        ("array_contains_all(numbers, 1)", "1)", "takes a list, not 1"),
        ("array_contains(age, 1)", "age, 1)", "only ARRAY fields and JSON"),
        ("array_length(age) == 1", "age) ==", "only ARRAY fields and JSON"),
        ("array_length() == 1", "array_length()", "takes 1 argument, not 0"),
        ("json_contains(meta, 1) == 1", "json_contains", "is no value"),
        ("array_length(numbers)", "array_length", "no condition"),
    ],
)
def test_filter_that_does_not_fit_the_schema(
    text: str, at: str, words: str, schema: CollectionSchema
) -> None:
    message, rest = _failure(text, schema)
    assert words in message
    assert rest.startswith(at)


def test_unknown_name_lists_the_fields(strict_schema: CollectionSchema) -> None:
    message, rest = _failure("age > 1 and nope == 2", strict_schema)
    assert "field 'nope' does not exist" in message
    assert "fields are: id, small, age" in message
    assert "$meta" not in message
    assert rest == "nope == 2"


def test_meta_needs_a_dynamic_field(strict_schema: CollectionSchema) -> None:
    assert "'$meta' does not exist" in _failure('$meta["a"] == 1', strict_schema)[0]


@pytest.mark.parametrize(
    ("templates", "words"),
    [
        ({}, "{x} has no value; values given: none"),
        ({"y": 1}, "values given: y"),
        ({"x": None}, "of type NoneType"),
        ({"x": float("nan")}, "finite number"),
        ({"x": {"a": 1}}, "of type dict"),
        ({"x": "\ud800"}, "surrogate"),
        ({"x": 1 << 70}, "outside the 64-bit"),
        ({"x": "text"}, "cannot be compared with 'text'"),
    ],
)
def test_template_values_that_do_not_fit(
    templates: dict[str, Any], words: str, schema: CollectionSchema
) -> None:
    message, rest = _failure("age == {x}", schema, templates)
    assert words in message
    assert rest.startswith(("{x}", "== {x}"))


def test_half_a_surrogate_pair_is_refused(schema: CollectionSchema) -> None:
    with pytest.raises(FilterError, match="surrogate"):
        compile_filter("name == '\ud800'", schema)


def test_a_long_filter_is_shown_around_the_fault(schema: CollectionSchema) -> None:
    text = " or ".join(["age == 1"] * 50 + ["age == 'x'"] + ["age == 2"] * 50)
    with pytest.raises(FilterError) as caught:
        compile_filter(text, schema)
    _, line, caret = caught.value.message.split("\n")
    assert line[caret.index("^") :].startswith("== 'x'")
    assert len(line) < 130


def test_the_line_of_the_fault_is_shown(schema: CollectionSchema) -> None:
    message, rest = _failure("age == 1\n  and age == 'x'\n  and flag", schema)
    assert rest == "== 'x'"
    assert "cannot be compared" in message
