"""Errors become Milvus's status, every one of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from pymilvus.exceptions import MilvusException
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from mishards.api.milvus.status import failure, status_field, status_of
from mishards.core import errors


def tree(root: type[errors.MishardsError]) -> Iterator[type[errors.MishardsError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


@pytest.mark.parametrize("kind", sorted(set(tree(errors.MishardsError)), key=lambda k: k.__name__))
def test_every_class_of_the_tree_is_an_error_with_its_code(
    kind: type[errors.MishardsError],
) -> None:
    status = status_of(kind("what was wrong"))
    assert status.code == kind.code != 0
    assert status.error_code != common_pb2.Success
    assert status.reason == "what was wrong"
    assert status.retriable is kind.retriable
    raised = MilvusException.from_status(status)
    assert (raised.code, raised.message) == (kind.code, "what was wrong")


@pytest.mark.parametrize(
    ("error", "legacy"),
    [
        (errors.CollectionNotFound("c"), common_pb2.CollectionNotExists),
        (errors.IndexNotFound("i"), common_pb2.IndexNotExist),
        (errors.InvalidParameter("p"), common_pb2.IllegalArgument),
        (errors.FilterError("f"), common_pb2.IllegalArgument),
        (errors.TooManyRequests("t"), common_pb2.RateLimit),
        (errors.Fenced("f"), common_pb2.UnexpectedError),
    ],
)
def test_legacy_codes_follow_the_nearest_class(error: errors.MishardsError, legacy: int) -> None:
    assert status_of(error).error_code == legacy


def test_the_callers_fault_is_marked() -> None:
    assert status_of(errors.SchemaError("s")).extra_info["is_input_error"] == "true"
    assert not status_of(errors.Unavailable("u")).extra_info


def test_a_defect_is_logged_and_told_without_its_insides(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        status = status_of(KeyError("secret"))
    assert status.code == errors.InternalError.code
    assert "KeyError" in status.reason
    assert "secret" not in status.reason
    assert "secret" in caplog.text


def test_a_failure_stands_where_the_response_has_its_status() -> None:
    error = errors.CollectionNotFound("gone")
    plain = common_pb2.Status.FromString(failure(common_pb2.Status, error))
    held = milvus_pb2.BoolResponse.FromString(failure(milvus_pb2.BoolResponse, error))
    other = milvus_pb2.AlterCollectionSchemaResponse
    odd = other.FromString(failure(other, error))
    assert plain == held.status == odd.alter_status
    assert plain.code == 100


def test_a_response_without_a_status_is_told_apart() -> None:
    assert status_field(milvus_pb2.DummyResponse) is None
    with pytest.raises(TypeError, match="DummyResponse"):
        failure(milvus_pb2.DummyResponse, errors.Unimplemented("x"))
