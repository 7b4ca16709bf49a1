"""Searches that arrive together: which go together, and what each gets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pymilvus.grpc_gen import milvus_pb2
from tests.unit.api.data_path.test_data_reads import search_request

from mishards.api.milvus.edge.protocol import EdgeCall
from mishards.api.milvus.searches_now import searches_now
from mishards.core.errors import InternalError, InvalidParameter
from mishards.core.ids import Timestamp
from mishards.core.schema import Metric
from mishards.proxy.calls import SearchAnswer, SearchCall

DIM = 4


class EchoProxy:
    """Answers each query with as many hits as its first number says, keyed by the number."""

    def __init__(self, view: Any) -> None:
        self.view = view
        self.calls: list[SearchCall] = []
        self.refuses_joint = False

    def search_now(self, call: SearchCall) -> SearchAnswer | None:
        self.calls.append(call)
        numbers = np.frombuffer(call.queries, np.float32).reshape(call.nq, -1)
        if numbers.shape[1] != DIM:
            raise InvalidParameter(f"dimension {numbers.shape[1]} of {call.nq}")
        if self.refuses_joint and call.nq > 1:
            raise InternalError("not together")
        counts = numbers[:, 0].astype(np.int32)
        if (counts == 9).any():
            return None
        keys = [10 * int(n) + i for n in counts for i in range(n)]
        return SearchAnswer(
            view=self.view,
            metric=Metric.L2,
            counts=counts,
            keys=np.array(keys, np.int64),
            distances=np.array(keys, np.float32) / 4,
            columns=None,
            output=(),
            read_ts=Timestamp(5),
        )


@pytest.fixture
def proxy(plain_proxy: Any) -> EchoProxy:
    return EchoProxy(plain_proxy.view)


def payload(*numbers: int, dim: int = DIM, **options: Any) -> EdgeCall:
    data = [(float(number),) * dim for number in numbers]
    return EdgeCall(search_request(data=data, **options).SerializeToString())


def keys(answer: bytes | None) -> list[int]:
    assert answer is not None
    response = milvus_pb2.SearchResults.FromString(answer)
    assert response.status.code == 0
    assert sum(response.results.topks) == len(response.results.ids.int_id.data)
    return list(response.results.ids.int_id.data)


def test_equal_but_for_the_vectors_they_are_one_search(proxy: EchoProxy) -> None:
    requests = [payload(2, 0), payload(0, 0), payload(3, 1), payload(1, 0)]
    answers = searches_now(proxy, requests)  # type: ignore[arg-type]
    assert [keys(answer) for answer in answers] == [[20, 21], [], [30, 31, 32, 10], [10]]
    assert [call.nq for call in proxy.calls] == [8]
    alone = [searches_now(proxy, [request])[0] for request in requests]  # type: ignore[arg-type]
    assert answers == alone


def test_what_differs_otherwise_goes_by_itself(proxy: EchoProxy) -> None:
    requests = [payload(2), payload(2, limit=5), payload(1), payload(3)._replace(database="shop")]
    answers = searches_now(proxy, requests)  # type: ignore[arg-type]
    assert [keys(answer) for answer in answers] == [[20, 21], [20, 21], [10], [30, 31, 32]]
    assert [(call.nq, call.limit, call.database) for call in proxy.calls] == [
        (2, 10, ""),
        (1, 5, ""),
        (1, 10, "shop"),
    ]


def test_each_has_an_error_of_its_own(proxy: EchoProxy) -> None:
    # Two and six numbers a query are two queries of four, taken together.
    requests = [payload(1, dim=2), payload(1, dim=6), payload(1), EdgeCall(b"\xff\xff"), payload(2)]
    answers = searches_now(proxy, requests)  # type: ignore[arg-type]
    statuses = [milvus_pb2.SearchResults.FromString(answer or b"").status for answer in answers]
    assert [status.code for status in statuses] == [1100, 1100, 0, 1100, 0]
    assert "dimension 2" in statuses[0].reason
    assert "dimension 6" in statuses[1].reason
    assert keys(answers[4]) == [20, 21]


def test_what_cannot_be_answered_at_once_together_is_tried_alone(proxy: EchoProxy) -> None:
    assert [a and keys(a) for a in searches_now(proxy, [payload(9), payload(1)])] == [None, [10]]  # type: ignore[arg-type]
    proxy.refuses_joint = True
    assert [keys(a) for a in searches_now(proxy, [payload(2), payload(1)])] == [[20, 21], [10]]  # type: ignore[arg-type]
