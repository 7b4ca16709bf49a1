"""Searches that differ in their vectors alone, made one and taken apart again: pure functions.

Invariant: each caller's share of the joint answer is the answer to its own call; all see one state
of the data.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from mishards.proxy.calls import SearchAnswer, SearchCall

FEW_QUERIES = 16
"""A call with more is large: it would keep others waiting, so it is not joined."""


def grouped(calls: Sequence[SearchCall]) -> list[list[int]]:
    """The places of the calls that go together, in order; none of them makes the others large."""
    groups: list[list[int]] = []
    for place, call in enumerate(calls):
        for group in groups:
            queries = call.nq + sum(calls[other].nq for other in group)
            if queries <= FEW_QUERIES and may_join(calls[group[0]], call):
                group.append(place)
                break
        else:
            groups.append([place])
    return groups


def may_join(one: SearchCall, other: SearchCall) -> bool:
    """Whether two calls are equal but for their vectors, which are equally long."""
    return (
        bool(one.shape)
        and one.shape == other.shape
        and len(one.queries) * other.nq == len(other.queries) * one.nq
    )


def joined(calls: Sequence[SearchCall]) -> SearchCall:
    """One call for all queries of several that may join, in order."""
    return msgspec.structs.replace(
        calls[0],
        queries=b"".join(call.queries for call in calls),
        nq=sum(call.nq for call in calls),
    )


def shares(answer: SearchAnswer, calls: Sequence[SearchCall]) -> list[SearchAnswer]:
    """The answer to each of the calls, out of that to all of them joined."""
    found = []
    query = hit = 0
    ends = np.cumsum(answer.counts).tolist()
    for call in calls:
        last = query + call.nq
        end = ends[last - 1]
        found.append(
            msgspec.structs.replace(
                answer,
                counts=answer.counts[query:last],
                keys=answer.keys[hit:end],
                distances=answer.distances[hit:end],
                columns=None if answer.columns is None else answer.columns.slice(hit, end - hit),
            )
        )
        query, hit = last, end
    return found
