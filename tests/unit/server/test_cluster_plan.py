"""Which processes `mishards up --processes` starts."""

from __future__ import annotations

from pathlib import Path

from mishards.server.supervisor import cluster_plan


def test_each_process_has_a_name_and_a_socket_of_its_own() -> None:
    plans = cluster_plan(2, 3, ("--data", "d"), 19530, Path("/s"))
    names = ["writer-1", "writer-2", "reader-1", "reader-2", "reader-3", "proxy"]
    assert [plan.name for plan in plans] == names
    roles = [plan.arguments[0] for plan in plans]
    assert roles == ["writer", "writer", "reader", "reader", "reader", "proxy"]
    for plan in plans:
        assert f"unix:///s/{plan.name}.sock" in plan.arguments
        assert plan.arguments[3:5] == ("--data", "d")


def test_a_writer_that_is_alone_needs_no_number() -> None:
    assert cluster_plan(1, 1, (), 19530, Path("/s"))[0].name == "writer"


def test_sockets_whose_paths_are_too_long_give_way_to_tcp() -> None:
    for plan in cluster_plan(1, 1, (), 19530, Path("/s" * 60)):
        assert "--listen" not in plan.arguments
