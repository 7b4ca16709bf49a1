"""What is typed into the playground, and what it means."""

import numpy as np
import pytest

from mishards.api.http.console.query import (
    Asked,
    key_literal,
    row_call,
    search_call,
    typed_vector,
    vector_field,
)
from mishards.core.errors import InvalidParameter
from mishards.core.ids import FieldId
from mishards.core.schema import DataType, FieldSchema
from mishards.testing.console_states import DIM, made_view

VIEW = made_view(1, 4, name="books")
FIELD = vector_field(VIEW.schema, "")


def asked(**form: str) -> Asked:
    return Asked.of({"collection": "default/books", "by": "id", "id": "7", **form})


def test_vectors_may_be_written_in_any_usual_way():
    numbers = [0.5, -1, 2e-3, *range(5)]
    for text in (str(numbers), " ".join(map(str, numbers)), "\n".join(f"{n}," for n in numbers)):
        found = np.frombuffer(typed_vector(asked(vector=text), FIELD), np.float32)
        assert found.tolist() == np.array(numbers, np.float32).tolist()


@pytest.mark.parametrize(
    ("vector", "why"), [("", "has 0 numbers"), ("1 2", "has 2 numbers"), ("1 x 3", "'x'")]
)
def test_other_vectors_are_refused_with_the_reason(vector: str, why: str):
    with pytest.raises(InvalidParameter, match=why):
        typed_vector(asked(vector=vector), FIELD)


def test_keys_are_written_as_the_filter_language_does():
    text = FieldSchema(id=FieldId(1), name="id", type=DataType.VARCHAR, primary_key=True)
    assert key_literal(text, 'a"] or true') == '"a\\"] or true"'
    assert key_literal(VIEW.schema.primary, " 7") == "7"
    with pytest.raises(InvalidParameter, match="no integer"):
        key_literal(VIEW.schema.primary, "7] or id > 0")


def test_calls_say_what_was_asked():
    call = search_call(asked(limit="3", filter="id > 1", params='{"ef": 50}'), VIEW, b"")
    assert (call.limit, call.filter, call.params) == (3, "id > 1", {"ef": 50})
    assert call.output == ("id", "title")
    assert search_call(asked(output="title, vector"), VIEW, b"").output == ("title", "vector")
    assert row_call(asked(), VIEW, 0.0).filter == "id in [7]"
    assert row_call(asked(by="random"), VIEW, 0.999).offset == 999


@pytest.mark.parametrize(
    "form",
    [
        {"limit": "0"},
        {"limit": "101"},
        {"limit": "ten"},
        {"limit": "9" * 30},
        {"params": "[1]"},
        {"params": "[" * 100_000},
        {"field": "title"},
    ],
)
def test_what_is_out_of_range_is_refused(form: dict[str, str]):
    with pytest.raises(InvalidParameter):
        search_call(asked(**form), VIEW, bytes(4 * DIM))


def test_fields_that_are_not_of_the_form_are_ignored():
    assert Asked.of({"limit": " 5 ", "evil": "x"}) == Asked(limit="5")
