import asyncio

import pytest

from mishards.core.errors import ConfigError, PluginError
from mishards.core.runtime import SystemRuntime
from mishards.discovery.registry import open_registry
from mishards.discovery.static import StaticRegistry, parse_node
from mishards.testing.registry_contract import node


def test_nodes_are_given_by_id_with_the_writer_as_leader() -> None:
    registry = StaticRegistry(["w=writer@tcp://10.0.0.1:1", " r1=reader@tcp://10.0.0.2:1 "])
    reader, writer = asyncio.run(registry.nodes())
    assert (reader.id, reader.roles, reader.address) == ("r1", ("reader",), "tcp://10.0.0.2:1")
    assert (writer.id, writer.leads, reader.leads) == ("w", (0,), ())
    assert writer.ready
    assert reader.ready


def test_without_an_id_the_address_is_the_id() -> None:
    assert parse_node("proxy+reader@unix:///run/p").id == "unix:///run/p"
    assert parse_node("proxy+reader@unix:///run/p").roles == ("proxy", "reader")


def test_of_several_writers_the_list_says_of_none_that_it_leads() -> None:
    registry = StaticRegistry(["writer@mem://a", "writer+reader@mem://b"])
    assert [node.leads for node in asyncio.run(registry.nodes())] == [(), ()]


def test_announcing_and_withdrawing_change_nothing() -> None:
    async def work() -> None:
        registry = StaticRegistry(["reader@mem://a"])
        before = await registry.nodes()
        await registry.announce(node("b"))
        await registry.withdraw(before[0].id)
        assert await registry.nodes() == before

    asyncio.run(work())


@pytest.mark.parametrize(
    "text", ["", "reader", "reader@", "reader@10.0.0.1:1", "chef@tcp://a:1", "=reader@tcp://a:1"]
)
def test_what_is_no_node_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ConfigError, match="invalid node") as caught:
        parse_node(text)
    assert repr(text) in caught.value.message


@pytest.mark.parametrize(
    ("nodes", "named"),
    [
        (["a=reader@mem://x", "a=reader@mem://y"], "'a'"),
        (["a=reader@mem://x", "b=reader@mem://x"], "'mem://x'"),
    ],
)
def test_contradicting_lists_are_refused(nodes: list[str], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        StaticRegistry(nodes)
    assert named in caught.value.message


def test_an_unknown_registry_lists_the_known_ones() -> None:
    with pytest.raises(PluginError, match=r"'oracle'.*memory.*sql.*static"):
        open_registry("oracle", SystemRuntime())
