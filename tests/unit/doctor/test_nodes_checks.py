"""What the doctor says of nodes: discovery, election, log, clocks, versions, memory, ports."""

from __future__ import annotations

import msgspec
import pytest

from mishards.core.ids import EntrySeq, Epoch, LogId
from mishards.core.timestamps import compose
from mishards.doctor.clock import judge_clocks
from mishards.doctor.database import DatabaseFacts
from mishards.doctor.discovery import judge_discovery
from mishards.doctor.election import judge_election
from mishards.doctor.findings import Level, Trouble
from mishards.doctor.http import judge_http
from mishards.doctor.log import judge_log
from mishards.doctor.logs import LogFacts
from mishards.doctor.memory import judge_memory
from mishards.doctor.nodes import Entries, NodeFacts, is_loopback, reached_at
from mishards.doctor.ports import PortFacts, judge_ports
from mishards.doctor.storage import StorageFacts
from mishards.doctor.versions import judge_versions, supported_bounds
from mishards.metadata.models import LogMeta
from mishards.server.config import Config, load_config
from mishards.testing.doctored import (
    LOG,
    NOW_MS,
    found,
    levels,
    node,
    segment,
    silent_node,
    snapshot,
)

CONFIG = Config()
NOWHERE = Trouble("down")
WRITER = node("w", "writer", leads=(0,), epochs=(3,))
WELL = (WRITER, node("r", "reader"), node("p", "proxy"))


def config(**settings: str) -> Config:
    options = {key.replace("__", "."): value for key, value in settings.items()}
    return load_config(options=options, environ={}).config


def discovery(*nodes: NodeFacts) -> dict[str, tuple[Level, str]]:
    entries = Entries(nodes=tuple(n.listed for n in nodes if not n.silent))
    return found(judge_discovery(entries, nodes, CONFIG))


def test_a_registry_that_is_away_or_names_nobody() -> None:
    assert levels(judge_discovery(NOWHERE, (), CONFIG)) == {"discovery.registry": Level.FAILURE}
    nobody = judge_discovery(Entries(nodes=()), (), CONFIG)
    assert levels(nobody) == {"discovery.registry": Level.FAILURE}


def test_nodes_that_are_well() -> None:
    assert {level for level, _ in discovery(*WELL).values()} == {Level.OK}


@pytest.mark.parametrize(
    ("facts", "level", "words"),
    [
        ({"nobody": True}, Level.FAILURE, "stale entry: reader x"),
        ({"refused": True}, Level.FAILURE, "reader x does not answer: why"),
        ({}, Level.FAILURE, "reader x does not answer: why"),
        ({"silent": True}, Level.FAILURE, "did not leave; it does not answer: why"),
        ({"silent": True, "nobody": True}, Level.NOTE, "nothing listens"),
    ],
)
def test_a_node_that_does_not_answer(facts: dict[str, bool], level: Level, words: str) -> None:
    told = discovery(*WELL, silent_node("x", "reader", problem="why", **facts))
    assert told["discovery.answers"][0] is level
    assert words in told["discovery.answers"][1]


def test_nodes_that_could_not_be_asked_count_as_what_their_entries_say() -> None:
    unasked = [
        msgspec.structs.replace(one, said=None, status=None, problem="expired", asked=False)
        for one in WELL
    ]
    told = {check: seen for check, seen in discovery(*unasked).items() if seen[0] is not Level.OK}
    assert told == {"discovery.answers": (Level.FAILURE, "no node was asked: expired")}
    assert levels(judge_election(unasked, (log(),))) == {"election.standby": Level.NOTE}


def test_a_node_that_cannot_write_itself_down_but_answers() -> None:
    told = discovery(*WELL, node("x", "reader", facts={"silent": True}))
    assert told["discovery.answers"][0] is Level.WARNING


def test_a_role_that_nobody_has_and_a_node_that_is_not_ready() -> None:
    told = discovery(WRITER, node("p", "proxy"), node("r", "reader", ready=False))
    assert told["discovery.ready"][0] is Level.WARNING
    assert told["discovery.roles"] == (
        Level.FAILURE,
        "no reader serves: nothing can be searched",
    )


def test_entries_that_are_of_somebody_else_or_twice() -> None:
    one = node("r", "reader", pid=7)
    moved = msgspec.structs.replace(one, said=node("other", "reader").listed)
    assert "where other answers" in discovery(*WELL, moved)["discovery.entries"][1]
    twin = node("twin", "reader", address=WELL[1].listed.address)
    assert "duplicate entries" in discovery(*WELL, twin)["discovery.entries"][1]
    # A list made by hand names nodes by its own words.
    by_hand = msgspec.structs.replace(node("list-1", "reader"), said=node("real", "reader").listed)
    assert discovery(*WELL, by_hand)["discovery.entries"][0] is Level.OK


# --- election and log -----------------------------------------------------------------------------


def log(**facts: object) -> LogFacts:
    meta = LogMeta(id=LOG, epoch=Epoch(3), replay_from=EntrySeq(5))
    return LogFacts(**({"meta": meta, "epoch": 3, "holder": "w"} | facts))  # type: ignore[arg-type]


STANDBY = node("w2", "writer")


def test_one_leader_with_a_standby_is_well() -> None:
    assert levels(judge_election((WRITER, STANDBY), (log(),))) == {}
    assert levels(judge_election((WRITER,), (log(),))) == {"election.standby": Level.NOTE}


@pytest.mark.parametrize(
    ("nodes", "facts", "expected"),
    [
        ((STANDBY, node("w3", "writer")), {}, {"election.leader": Level.FAILURE}),
        (
            (WRITER, node("w2", "writer", leads=(0,), epochs=(2,))),
            {},
            {"election.leader": Level.WARNING},
        ),
        ((WRITER, STANDBY), {"epoch": 4}, {"election.epoch": Level.WARNING}),
        ((WRITER, STANDBY), {"holder": "w2"}, {"election.lease": Level.WARNING}),
        ((WRITER, STANDBY), {"holder": None, "epoch": None}, {}),
    ],
)
def test_reigns(
    nodes: tuple[NodeFacts, ...], facts: dict[str, object], expected: dict[str, Level]
) -> None:
    assert levels(judge_election(nodes, (log(**facts),))) == expected


def test_why_nobody_leads_is_told() -> None:
    waiting = node("w2", "writer", status={"details": {"log 0": "the database is away"}})
    told = found(judge_election((waiting,), (log(),)))
    assert "w2: the database is away" in told["election.leader"][1]


@pytest.mark.parametrize(
    ("behind_s", "expected"), [(1, None), (20, Level.WARNING), (100, Level.FAILURE)]
)
def test_a_follower_that_is_behind(behind_s: int, expected: Level | None) -> None:
    def at(seconds: int) -> dict[str, object]:
        return {"applied_ts": {LogId(0): compose(NOW_MS - seconds * 1000)}}

    leader = node("w", "writer", leads=(0,), epochs=(3,), status=at(0))
    told = found(judge_log((leader, node("r", "reader", status=at(behind_s))), (log(),), CONFIG, 1))
    if expected is None:
        assert told["log.lag"][0] is Level.OK
    else:
        assert told["log.lag"][0] is expected
        assert told["log.lag"][1].startswith("r is ")


def test_a_log_that_is_not_trimmed() -> None:
    assert levels(judge_log((), (log(entries=5, size_bytes=1 << 20),), CONFIG, 1)) == {}
    long = judge_log((), (log(entries=5, size_bytes=1 << 40),), CONFIG, 1)
    assert levels(long) == {"log.length": Level.WARNING}


# --- clocks, versions, memory ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset_ms", "expected"), [(400, None), (-2_000, Level.NOTE), (9_000, Level.WARNING)]
)
def test_a_clock_among_others(offset_ms: float, expected: Level | None) -> None:
    skewed = node("x", "reader", facts={"offset_ms": offset_ms, "error_ms": 5.0})
    told = found(judge_clocks((*WELL, skewed), NOWHERE, NOWHERE))["clock.nodes"]
    assert told[0] is (expected or Level.OK)
    if expected is not None:
        assert told[1].startswith("the clock of x is")


def test_this_machines_own_clock_is_not_held_against_nodes() -> None:
    nodes = [node(f"n{i}", facts={"offset_ms": 9_000.0 + i}) for i in range(3)]
    assert levels(judge_clocks(nodes, NOWHERE, NOWHERE)) == {}


def test_an_answer_that_took_long_says_little_of_the_clock() -> None:
    slow = node("x", facts={"offset_ms": 8_000.0, "error_ms": 8_000.0})
    assert levels(judge_clocks((*WELL, slow), NOWHERE, NOWHERE)) == {}


def test_clocks_of_services() -> None:
    told = judge_clocks(
        (),
        StorageFacts(where="s", clock_offset_ms=60_000),
        DatabaseFacts(where="d", clock_offset_ms=3),
    )
    level, seen = found(told)["clock.services"]
    assert level is Level.WARNING
    assert seen == "the clock of storage is 60.0 s ahead of this machine's"


def test_mixed_releases_and_libraries_that_are_not_supported() -> None:
    old = node("o", facts={"condition": None})
    assert levels(judge_versions({}, (*WELL, old), {})) == {"versions.release": Level.WARNING}
    bounds = {"pymilvus": ">=2.6,<4", "python": ">=3.11"}
    for version, fits in (("2.6", True), ("3.9.1rc1", True), ("2.5.9", False), ("4.0", False)):
        expected = {} if fits else {"versions.libraries": Level.FAILURE}
        assert levels(judge_versions({"pymilvus": version}, WELL, bounds)) == expected
    beside = node("n", condition={"libraries": {"python": "3.10.2"}})
    told = found(judge_versions({}, (*WELL, beside), bounds))
    assert "on n" in told["versions.libraries"][1]


def test_what_is_installed_here_is_supported() -> None:
    bounds = supported_bounds()
    assert {"python", "faiss-cpu", "numpy", "pyarrow", "pymilvus"} <= set(bounds)


@pytest.mark.parametrize(
    ("condition", "check"),
    [
        ({"own_bytes": 95, "memory_limit_bytes": 100}, "memory.own"),
        ({"open_files": 900, "open_files_limit": 1_000}, "limits.files"),
        ({"mapped_areas": 60_000, "mapped_areas_limit": 65_530}, "limits.areas"),
    ],
)
def test_limits_that_are_nearly_reached(condition: dict[str, int], check: str) -> None:
    tight = node("tight", "reader", condition=condition)
    assert found(judge_memory(None, (*WELL, tight)))[check][0] is Level.FAILURE
    assert "tight" in found(judge_memory(None, (*WELL, tight)))[check][1]
    assert levels(judge_memory(None, WELL)) == {}


def test_data_that_does_not_fit() -> None:
    held = snapshot(segments=(segment(size_bytes=1_000),))

    def judged(**condition: object) -> dict[str, Level]:
        return levels(judge_memory(held, (node("r", "reader", condition=condition),)))

    assert judged(memory_limit_bytes=2_000) == {}
    assert judged(memory_limit_bytes=900) == {"memory.data": Level.WARNING}
    assert judged(cache_folder="/c", cache_limit_bytes=900) == {"memory.cache": Level.WARNING}
    assert judged(cache_folder="/c", cache_limit_bytes=0) == {}


# --- ports and HTTP -------------------------------------------------------------------------------

TAKEN = PortFacts(
    setting="proxy.port", host="127.0.0.1", port=1, problem="in use", holder=(5, "nginx -g")
)


@pytest.mark.parametrize(
    ("port", "nodes", "expected"),
    [
        (TAKEN, (), {"ports.free": Level.WARNING}),
        (msgspec.structs.replace(TAKEN, holder=None), (), {"ports.free": Level.WARNING}),
        (msgspec.structs.replace(TAKEN, holder=(5, "mishards up")), (), {"ports.free": Level.NOTE}),
        (TAKEN, (node("p", "proxy", pid=5),), {}),
        (TAKEN, (node("p", "proxy", pid=6),), {"ports.free": Level.NOTE}),
        (msgspec.structs.replace(TAKEN, problem="", holder=None), (), {}),
    ],
)
def test_ports(port: PortFacts, nodes: tuple[NodeFacts, ...], expected: dict[str, Level]) -> None:
    assert levels(judge_ports((port,), nodes, "here")) == expected


def test_addresses_that_others_cannot_reach() -> None:
    far = node("far", "reader", host="there")
    own = node("own", "reader", address="tcp://127.0.0.1:7")
    shy = node("shy", "proxy", edge="127.0.0.1:19530")
    assert levels(judge_ports((), (own, shy), "here")) == {}
    assert levels(judge_ports((), (far, own), "here")) == {"ports.advertised": Level.FAILURE}
    assert levels(judge_ports((), (far, shy), "here")) == {"ports.advertised": Level.NOTE}
    closed = node("closed", "proxy", facts={"unreached": {"h:1": "refused"}})
    assert levels(judge_ports((), (closed,), "here")) == {"ports.reached": Level.FAILURE}


def test_addresses() -> None:
    assert is_loopback("127.0.0.1:9091")
    assert is_loopback("unix:///run/n.sock")
    assert is_loopback("tcp://[::1]:7")
    assert not is_loopback("tcp://10.0.0.1:7")
    assert reached_at("0.0.0.0:9091", "far") == ("far", 9091)
    assert reached_at("[::1]:9091", "far") == ("::1", 9091)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {}),
        ({"http__host": "0.0.0.0"}, {"http.open": Level.WARNING}),
        ({"http__host": "0.0.0.0", "http__enabled": "false"}, {}),
        ({"http__host": "0.0.0.0", "http__token": "t" * 32}, {"http.plain": Level.NOTE}),
        (
            {"http__host": "0.0.0.0", "http__token": "t" * 32, "http__tls_certificate": "c"},
            {},
        ),
    ],
)
def test_an_open_endpoint(settings: dict[str, str], expected: dict[str, Level]) -> None:
    assert levels(judge_http(config(**settings), ())) == expected
