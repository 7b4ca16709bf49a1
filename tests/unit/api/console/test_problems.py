"""What is wrong is said, with what to do; what is well is not."""

import msgspec

from mishards.api.http.console.problems import problems
from mishards.core.ids import LogId, NodeId, SegmentId
from mishards.core.timestamps import compose
from mishards.testing.console_states import NOW_MS, broken, made_state, made_view

STATE = made_state(made_view(1, 4, replicas=1))


def changed(state, **fields):
    return msgspec.structs.replace(state, **fields)


def node(state, name, **fields):
    return changed(
        state,
        nodes=tuple(
            msgspec.structs.replace(n, **fields) if n.id == name else n for n in state.nodes
        ),
    )


def reply(state, name, **fields):
    replies = dict(state.replies)
    replies[name] = msgspec.structs.replace(replies[name], **fields)
    return changed(state, replies=replies)


def silenced(state, *names):
    left = {name: said for name, said in state.replies.items() if name not in names}
    return changed(state, silent=frozenset(names), replies=left)


def whats(state):
    return [(problem.level, problem.what) for problem in problems(state)]


def test_a_healthy_cluster_has_none():
    assert problems(STATE) == []


def test_no_leader_is_told_with_what_the_writers_say():
    state = node(STATE, "writer-1", leads=(), epochs=())
    state = reply(state, "writer-2", details={"log 0": "the disk is full"})
    (found,) = problems(state)
    assert found.level == "broken"
    assert found.what.startswith("Log 0 has no leader. Writes")
    assert found.todo.startswith("2 other writers should take over")
    assert "log 0: the disk is full" in found.todo


def test_a_silent_leader_without_standby_asks_for_another_writer():
    found = problems(silenced(STATE, "writer-1", "writer-2"))
    assert [problem.level for problem in found] == ["broken", "warning"]
    assert "The leader of log 0, writer-1, does not answer." in found[0].what
    assert found[0].todo.startswith("No other writer is ready")
    assert found[1].what.startswith("writer-1, writer-2 do not answer")


def test_a_successor_counts_while_the_dead_leader_is_still_listed():
    state = node(silenced(STATE, "writer-1"), "writer-2", leads=(0,), epochs=(5,))
    assert [level for level, _ in whats(state)] == ["warning"]


def test_without_readers_searches_fail():
    assert ("broken", "No reader serves. Searches and queries fail.") in whats(
        made_state(readers=0)
    )
    assert "broken" in dict(whats(silenced(STATE, "reader-1", "reader-2", "reader-3")))


def test_the_registry_away_a_node_starting_and_a_log_unheard_are_warnings():
    assert whats(changed(STATE, registry_answers=False))[0][1].startswith("The registry of nodes")
    assert "reader-2 is starting or stopping." in whats(node(STATE, "reader-2", ready=False))[0][1]
    said = whats(changed(STATE, heard_ago_s={LogId(0): 42.0}))
    assert said == [("warning", said[0][1])]
    assert "nothing of log 0 for 42 s" in said[0][1]
    assert whats(changed(STATE, heard_ago_s={LogId(0): 9.0})) == []


def test_damaged_segments_and_late_readers_are_named():
    state = reply(STATE, "reader-1", quarantined={SegmentId(5): "segment 5: wrong checksum"})
    assert "1 segment is damaged: segment 5: wrong checksum" in whats(state)[0][1]
    late = compose(NOW_MS - 30_000)
    state = reply(STATE, "reader-3", applied_ts={LogId(0): late})
    assert "reader-3 is behind the log, by up to 30 s" in whats(state)[0][1]


def test_a_thousand_dead_nodes_are_one_short_problem():
    state = made_state(readers=1000)
    state = silenced(state, *(NodeId(f"reader-{n + 1}") for n in range(900)))
    (found,) = problems(state)
    assert found.what.startswith("reader-1, reader-2, reader-3, reader-4, reader-5 and 895 more")
    assert len(found.what) < 300


def test_the_broken_cluster_of_the_kit_is_broken():
    assert [problem.level for problem in problems(broken(STATE))] == ["broken", *["warning"] * 3]
