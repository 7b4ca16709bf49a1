"""The stand-in for Consul does what the published API says, where providers rely on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mishards.testing.consul_kv import Refused
from mishards.testing.consul_state import ConsulState, seconds


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(clock: Clock) -> ConsulState:
    return ConsulState(lambda: clock.now_s)


@pytest.fixture
def later(state: ConsulState, clock: Clock) -> Callable[[float], None]:
    def pass_time(passed_s: float) -> None:
        clock.now_s += passed_s
        state.pass_time()

    return pass_time


def service(name: str = "web", ttl: str = "3s", status: str = "passing") -> dict[str, Any]:
    check = {"TTL": ttl, "Status": status, "DeregisterCriticalServiceAfter": "1m"}
    return {"ID": f"{name}-1", "Name": name, "Meta": {"a": "b"}, "Check": check}


def statuses(state: ConsulState, name: str = "web") -> list[str]:
    return [one["Checks"][1]["Status"] for one in state.instances(name)[0]]


def session(state: ConsulState, **options: str) -> str:
    return state.create_session({"TTL": "10s", "LockDelay": "5s", **options})


@pytest.mark.parametrize(
    ("text", "found"), [("10s", 10), ("1m30s", 90), ("500ms", 0.5), ("1.5h", 5400)]
)
def test_durations_are_those_of_go(text: str, found: float) -> None:
    assert seconds(text) == found


@pytest.mark.parametrize("text", ["", "10", "s", "10 s", "1d"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(Refused):
        seconds(text)


def test_an_agent_tells_the_catalog_a_moment_later(
    state: ConsulState, later: Callable[[float], None]
) -> None:
    before = state.instances("web")[1]
    state.register(service())
    assert state.instances("web") == ([], before)
    later(0.1)
    (found,), index = state.instances("web")
    assert (found["Service"]["ID"], found["Service"]["Meta"], index > before) == (
        "web-1",
        {"a": "b"},
        True,
    )
    state.deregister("web-1")
    later(0.1)
    assert state.instances("web")[0] == []
    assert state.instances("web")[1] > index


def test_a_check_that_is_not_renewed_turns_critical_and_then_takes_its_service_along(
    state: ConsulState, later: Callable[[float], None]
) -> None:
    state.register(service())
    later(2.9)
    index = state.instances("web")[1]
    state.pass_check("service:web-1")
    later(2.9)
    assert statuses(state) == ["passing"]
    assert state.instances("web")[1] == index, "renewals are no news"
    later(0.2)
    later(0.1)
    assert statuses(state) == ["critical"]
    state.pass_check("service:web-1")
    later(0.1)
    assert statuses(state) == ["passing"]
    later(63)
    later(0.1)
    assert statuses(state) == []
    with pytest.raises(Refused):
        state.pass_check("service:web-1")


def test_metadata_is_limited(state: ConsulState) -> None:
    for meta in ({"a b": ""}, {"a": "x" * 513}, {"a": "é" * 257}):
        with pytest.raises(Refused):
            state.register(service() | {"Meta": meta})


@pytest.mark.parametrize(
    "wrong", [{"TTL": "9s"}, {"TTL": "25h"}, {"Behavior": "keep"}, {"LockDelay": "0s"}]
)
def test_sessions_have_limits(state: ConsulState, wrong: dict[str, str]) -> None:
    with pytest.raises(Refused):
        session(state, **wrong)


def test_a_lock_is_one_sessions_until_it_is_released(state: ConsulState) -> None:
    one, other = session(state), session(state)
    assert state.keys.put("k", b"1", acquire=one)
    assert not state.keys.put("k", b"2", acquire=other)
    assert not state.keys.put("k", b"2", release=other)
    assert state.keys.put("k", b"3", acquire=one)
    assert state.keys.put("k", b"4", release=one)
    assert state.keys.put("k", b"5", acquire=other)
    entry = state.keys.get("k")
    assert entry is not None
    assert (entry.value, entry.session, entry.lock_index) == (b"5", other, 2)
    with pytest.raises(Refused, match="Conflicting"):
        state.keys.put("k", b"", acquire=one, cas="1")


def test_a_session_that_ends_keeps_its_locks_from_others_for_the_delay(
    state: ConsulState, later: Callable[[float], None]
) -> None:
    one, other = session(state), session(state)
    state.keys.put("k", b"1", acquire=one)
    before = state.keys.index_of("k")
    later(6)
    state.renew_session(other)
    later(6)
    entry = state.keys.get("k")
    assert entry is not None
    assert (entry.session, entry.value, entry.modify_index > before) == ("", b"1", True)
    assert not state.keys.put("k", b"2", acquire=other)
    state.renew_session(other)
    later(5)
    assert state.keys.put("k", b"2", acquire=other)
    with pytest.raises(Refused):
        state.renew_session(one)
    with pytest.raises(Refused, match="invalid session"):
        state.keys.put("k", b"3", acquire=one)


def test_keys_of_a_session_that_deletes_go_with_it(state: ConsulState) -> None:
    one = session(state, Behavior="delete")
    state.keys.put("k", b"1", acquire=one)
    state.destroy_session(one)
    state.destroy_session(one)
    assert state.keys.get("k") is None


def test_a_put_compares_the_index(state: ConsulState) -> None:
    assert state.keys.put("k", b"1", cas="0")
    assert not state.keys.put("k", b"2", cas="0")
    index = state.keys.index_of("k")
    assert not state.keys.put("k", b"2", cas=str(index + 1))
    assert state.keys.put("k", b"2", cas=str(index))
    assert state.keys.index_of("k") > index


def test_a_transaction_is_done_wholly_or_not_at_all(state: ConsulState) -> None:
    one = session(state)
    index = state.index
    steps: list[dict[str, Any]] = [
        {"KV": {"Verb": "cas", "Key": "k", "Value": "MQ==", "Index": 0}},
        {"KV": {"Verb": "lock", "Key": "k", "Value": "MQ==", "Session": one}},
    ]
    with pytest.raises(Refused) as refused:
        state.keys.change([*steps, {"KV": {"Verb": "check-not-exists", "Key": "k"}}])
    assert refused.value.status == 409
    assert (state.keys.get("k"), state.index) == (None, index)
    results = state.keys.change(steps)["Results"]
    assert [result["KV"]["ModifyIndex"] for result in results] == [index + 1] * 2
    assert state.index == index + 1


def test_a_restored_snapshot_has_lower_indexes(
    state: ConsulState, later: Callable[[float], None]
) -> None:
    state.register(service())
    later(0.1)
    state.keys.put("k", b"1")
    state.restore(3)
    assert state.instances("web")[1] == state.keys.index_of("k") == 3
    assert statuses(state) == ["passing"]
