"""The merged top-k equals the top-k of one list of all hits, whatever way they were split."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mishards.index.topk import select_top, select_top_few
from mishards.proxy.merge import Hits, merge_hits, skip_hits
from mishards.rpc.messages import SearchPartial

DISTANCES = st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, -1.0])


@st.composite
def _split_hits(draw):
    """Hits per query and reader: (distance, key, timestamp), ragged, with ties and duplicates."""
    nq = draw(st.integers(1, 4))
    readers = draw(st.integers(1, 4))
    hit = st.tuples(DISTANCES, st.integers(0, 12), st.integers(1, 5))
    lists = st.lists(st.lists(st.lists(hit, max_size=8), min_size=nq, max_size=nq),
                     min_size=readers, max_size=readers)  # fmt: skip
    return nq, draw(lists), draw(st.integers(1, 10)), draw(st.booleans()), draw(st.booleans())


def _newest(hits):
    """One hit per key, the one of the highest timestamp; equal ones by smallest distance."""
    best = {}
    for distance, key, stamp in hits:
        known = best.get(key)
        if known is None or stamp > known[2]:
            best[key] = (distance, key, stamp)
    return list(best.values())


def _top(hits, k, rising):
    order = sorted(_newest(hits), key=lambda hit: (hit[0] if rising else -hit[0], hit[1]))
    return order[:k]


def _partial(per_query, k, rising, text):
    """What a reader would answer: sorted, distinct, cut to k."""
    cut = [_top(hits, k, rising) for hits in per_query]
    flat = [hit for hits in cut for hit in hits]
    keys = [key for _, key, _ in flat]
    return SearchPartial(
        counts=np.array([len(hits) for hits in cut], np.int32).tobytes(),
        keys=[f"{key:03}" for key in keys] if text else np.array(keys, np.int64).tobytes(),
        distances=np.array([hit[0] for hit in flat], np.float32).tobytes(),
        timestamps=np.array([hit[2] for hit in flat], np.int64).tobytes(),
        units=np.zeros(len(flat), np.int64).tobytes(),
        offsets=np.zeros(len(flat), np.int64).tobytes(),
    )


def _consistent(readers, nq):
    """Equal (key, timestamp) pairs are one row: give them one distance."""
    seen = {}
    return [
        [
            [(seen.setdefault((q, key, stamp), distance), key, stamp) for distance, key, stamp in h]
            for q, h in enumerate(per_query)
        ]
        for per_query in readers
    ]


@given(_split_hits())
def test_merge_equals_the_top_of_one_list(case):
    nq, readers, k, rising, text = case
    readers = _consistent(readers, nq)
    # One node's view: per query the newest row of each key among what readers answered with.
    partials = [_partial(per_query, k, rising, text) for per_query in readers]
    merged = merge_hits(partials, nq, k, smaller_is_closer=rising)
    place = 0
    for q in range(nq):
        answered = [hit for per_query in readers for hit in _top(per_query[q], k, rising)]
        expected = _top(answered, k, rising)
        count = int(merged.counts[q])
        keys = [int(key) for key in list(merged.keys)[place : place + count]]
        assert keys == [key for _, key, _ in expected]
        got = merged.distances[place : place + count].tolist()
        assert got == [distance for distance, _, _ in expected]
        place += count
    assert place == len(merged.distances)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=5), st.integers(0, 8))
def test_skip_drops_the_first_hits_of_each_query(counts, offset):
    total = sum(counts)
    number = np.arange(total, dtype=np.int64)
    hits = Hits(
        counts=np.array(counts, np.int32),
        keys=number,
        distances=number.astype(np.float32),
        units=number,
        offsets=number,
        columns=None,
    )
    left = skip_hits(hits, offset)
    expected, start = [], 0
    for count in counts:
        expected += list(range(start, start + count))[offset:]
        start += count
    assert list(left.keys) == expected
    assert left.counts.tolist() == [max(0, count - offset) for count in counts]


def test_no_partials_is_no_hits_for_every_query():
    merged = merge_hits([], 3, 5, smaller_is_closer=True)
    assert merged.counts.tolist() == [0, 0, 0]


@given(
    st.lists(st.tuples(DISTANCES, st.integers(0, 6), st.integers(1, 4)), max_size=40),
    st.integers(1, 12),
    st.booleans(),
)
def test_few_hits_are_chosen_as_many_are(hits, k, rising):
    distances = np.array([hit[0] for hit in hits], np.float32)
    keys = np.array([hit[1] for hit in hits], np.int64)
    stamps = np.array([hit[2] for hit in hits], np.int64)
    many = select_top(None, distances, keys, stamps, k, smaller_is_closer=rising)
    few = select_top_few(
        distances.tolist(), keys.tolist(), stamps.tolist(), k, smaller_is_closer=rising
    )
    assert keys[few].tolist() == keys[many].tolist()
    assert distances[few].tolist() == distances[many].tolist()
