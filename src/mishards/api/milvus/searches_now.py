"""Searches answered in the thread that received them; those that arrive together go together.

Invariant: what comes back for each is what it would get by itself. A joint search that fails says
nothing of its parts: each is then tried alone, and has an error of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError
from pymilvus.grpc_gen import milvus_pb2

from mishards.api.milvus.decode_reads import decode_search
from mishards.api.milvus.encode_answers import encode_search
from mishards.api.milvus.status import failure
from mishards.core.errors import InvalidParameter, MishardsError
from mishards.proxy.calls import ProxyApi, SearchCall
from mishards.proxy.joining import grouped, joined, shares

_parse_search = milvus_pb2.SearchRequest.FromString

Decoded = tuple[SearchCall, int]
"""A call, and the decimals to round its scores to."""


def searches_now(proxy: ProxyApi, requests: Sequence[tuple[bytes, str]]) -> list[bytes | None]:
    """Serves `Search` where the proxy can answer at once. Any thread.

    Args:
        requests: serialised `SearchRequest`s; each with the database of its connection, used where
            the request names none.

    Returns:
        For each a serialised `SearchResults`, or None when the answer needs the loop: the same
        payload then goes to the handler.
    """
    answers: list[bytes | None] = [None] * len(requests)
    places: list[int] = []
    decoded: list[Decoded] = []
    for place, (payload, database) in enumerate(requests):
        try:
            decoded.append(_decoded(payload, database))
            places.append(place)
        except Exception as error:
            answers[place] = failure(milvus_pb2.SearchResults, error)
    for group in grouped([call for call, _ in decoded]):
        found = _together(proxy, [decoded[one] for one in group])
        for one, answer in zip(group, found, strict=True):
            answers[places[one]] = answer
    return answers


def _decoded(payload: bytes, database: str) -> Decoded:
    try:
        request = _parse_search(payload)
    except DecodeError as error:
        raise InvalidParameter(f"the request is no SearchRequest: {error}") from error
    return decode_search(request, database)


def _together(proxy: ProxyApi, group: Sequence[Decoded]) -> list[bytes | None]:
    """The answers to calls that may join."""
    if len(group) > 1:
        calls = [call for call, _ in group]
        try:
            answer = proxy.search_now(joined(calls))
        except MishardsError:
            answer = None
        if answer is not None:
            return [
                encode_search(share, call.collection, round_decimal)
                for share, (call, round_decimal) in zip(shares(answer, calls), group, strict=True)
            ]
    return [_alone(proxy, one) for one in group]


def _alone(proxy: ProxyApi, decoded: Decoded) -> bytes | None:
    call, round_decimal = decoded
    try:
        answer = proxy.search_now(call)
        return None if answer is None else encode_search(answer, call.collection, round_decimal)
    except Exception as error:
        return failure(milvus_pb2.SearchResults, error)
