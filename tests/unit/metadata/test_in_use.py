from __future__ import annotations

from mishards.core.ids import MetadataVersion
from mishards.metadata.in_use import VersionsInUse


class Node:
    def __init__(self) -> None:
        self.version = MetadataVersion(5)
        self.in_use = VersionsInUse(lambda: self.version)


def test_without_reads_the_current_version_is_in_use() -> None:
    node = Node()
    assert node.in_use.oldest() == 5
    node.version = MetadataVersion(6)
    assert node.in_use.oldest() == 6


def test_a_read_keeps_the_version_it_began_with() -> None:
    node = Node()
    first = node.in_use.begin()
    node.version = MetadataVersion(7)
    second = node.in_use.begin()
    node.version = MetadataVersion(9)
    assert node.in_use.oldest() == 5
    node.in_use.end(first)
    assert node.in_use.oldest() == 7
    node.in_use.end(second)
    assert node.in_use.oldest() == 9


def test_a_body_that_fails_ends_its_use() -> None:
    node = Node()
    try:
        with node.in_use.held():
            node.version = MetadataVersion(7)
            assert node.in_use.oldest() == 5
            raise ValueError
    except ValueError:
        pass
    assert node.in_use.oldest() == 7


def test_a_read_that_is_just_beginning_holds_everything() -> None:
    seen = []

    def current() -> MetadataVersion:
        # Another thread asks while the read looks up its version.
        seen.append(min(in_use._held.values(), default=None))
        return MetadataVersion(5)

    in_use = VersionsInUse(current)
    in_use.begin()
    assert seen == [0]
