"""Searches answered in the thread that received them; those that arrive together go together.

Invariant: what comes back for each is what it would get by itself. A joint search that fails says
nothing of its parts: each is then tried alone, and has an error of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from google.protobuf.message import DecodeError
from pymilvus.grpc_gen import milvus_pb2

from mishards.api.milvus.decode_reads import decode_search
from mishards.api.milvus.edge.protocol import EdgeCall
from mishards.api.milvus.encode_answers import encode_search
from mishards.api.milvus.measures import code_of
from mishards.api.milvus.status import failure
from mishards.api.milvus.traced import begun, begun_to_explain, describe, ended, explanation
from mishards.core.errors import InvalidParameter, MishardsError
from mishards.observability.tracing import Recorder, TraceSink, recorded, recording
from mishards.proxy.calls import ProxyApi, SearchAnswer, SearchCall
from mishards.proxy.joining import grouped, joined, shares

_parse_search = milvus_pb2.SearchRequest.FromString


class _Decoded(NamedTuple):
    """A call, the decimals to round its scores to, and what records it."""

    call: SearchCall
    round_decimal: int
    recorder: Recorder | None


Answer = bytes | Recorder | None


def searches_now(
    proxy: ProxyApi,
    requests: Sequence[EdgeCall],
    traces: TraceSink | None = None,
    failures: list[str] | None = None,
) -> list[Answer]:
    """Serves `Search` where the proxy can answer at once. Any thread.

    Args:
        requests: serialised `SearchRequest`s; the database of the connection is used where the
            request names none.
        traces: None to record nothing.
        failures: gets the code of each that is answered with an error.

    Returns:
        For each a serialised `SearchResults`; where the answer needs the loop, None or what has
        recorded the attempt: the same payload then goes to the handler.
    """
    failures = [] if failures is None else failures
    answers: list[Answer] = [None] * len(requests)
    places: list[int] = []
    decoded: list[_Decoded] = []
    for place, (payload, database, start) in enumerate(requests):
        recorder = None if traces is None else begun(traces, "Search", start)
        try:
            made = _decoded(payload, database, recorder)
            if made.call.explain and recorder is None:
                made = made._replace(recorder=begun_to_explain(traces, start))
            decoded.append(made)
            places.append(place)
        except Exception as error:
            failures.append(code_of(error))
            answers[place] = _failed(traces, recorder, error)
    for group in grouped([one.call for one in decoded]):
        found = _together(proxy, [decoded[one] for one in group], traces, failures)
        for one, answer in zip(group, found, strict=True):
            answers[places[one]] = answer
    return answers


def _decoded(payload: bytes, database: str, recorder: Recorder | None) -> _Decoded:
    try:
        request = _parse_search(payload)
    except DecodeError as error:
        raise InvalidParameter(f"the request is no SearchRequest: {error}") from error
    if recorder is not None:
        recorder.root.attributes["request_bytes"] = len(payload)
    call, round_decimal = decode_search(request, database)
    describe(recorder, call)
    return _Decoded(call, round_decimal, recorder)


def _together(
    proxy: ProxyApi, group: Sequence[_Decoded], traces: TraceSink | None, failures: list[str]
) -> list[Answer]:
    """The answers to calls that may join."""
    if len(group) > 1:
        calls = [one.call for one in group]
        try:
            answer = _recorded(proxy, joined(calls), group[0].recorder)
        except MishardsError:
            answer = None
        if answer is not None:
            _joint([one.recorder for one in group])
            return [
                _encoded(share, one, traces)
                for share, one in zip(shares(answer, calls), group, strict=True)
            ]
    return [_alone(proxy, one, traces, failures) for one in group]


def _alone(proxy: ProxyApi, one: _Decoded, traces: TraceSink | None, failures: list[str]) -> Answer:
    try:
        answer = _recorded(proxy, one.call, one.recorder)
        if answer is not None:
            return _encoded(answer, one, traces)
    except Exception as error:
        failures.append(code_of(error))
        return _failed(traces, one.recorder, error)
    if one.recorder is not None:
        one.recorder.fold("in_thread")
    return one.recorder


def _recorded(proxy: ProxyApi, call: SearchCall, recorder: Recorder | None) -> SearchAnswer | None:
    """`search_now`, recorded."""
    if recorder is None:
        return proxy.search_now(call)
    before = recording(recorder)
    try:
        return proxy.search_now(call)
    finally:
        recorded(before)


def _joint(recorders: Sequence[Recorder | None]) -> None:
    """What the first has recorded was done for all."""
    first = recorders[0]
    for recorder in recorders:
        if first is None or recorder is None:
            continue
        recorder.root.attributes["joined"] = len(recorders)
        if recorder is not first:
            recorder.share(first)


def _encoded(answer: SearchAnswer, one: _Decoded, traces: TraceSink | None) -> bytes:
    call = one.call
    why = explanation(one.recorder, call, answer) if call.explain else ""
    data = encode_search(answer, call.collection, one.round_decimal, why)
    if one.recorder is not None:
        one.recorder.root.attributes["answer_bytes"] = len(data)
        ended(traces, one.recorder)
    return data


def _failed(traces: TraceSink | None, recorder: Recorder | None, error: Exception) -> bytes:
    ended(traces, recorder, error)
    return failure(milvus_pb2.SearchResults, error)
