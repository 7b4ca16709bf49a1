"""Versions: do all nodes run one release, on what it supports?"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, metadata, requires

from mishards.doctor.findings import Check, Finding
from mishards.doctor.nodes import NodeFacts
from mishards.doctor.words import listed

RELEASE = Check(
    "versions.release",
    "Do all nodes run one release?",
    "mixed releases serve while an upgrade is under way; what is new works once all have it",
)
LIBRARIES = Check(
    "versions.libraries",
    "Are Python and the libraries that answers depend on of versions that are supported?",
    "other versions are not tested: an index may not open, a client may not be understood",
)
CHECKS = (RELEASE, LIBRARIES)

_BOUND = re.compile(r"(>=|<)\s*([\d.]+)")
_NAME = re.compile(r"[\w.\-]+")
Version = tuple[int, ...]


def supported_bounds() -> dict[str, str]:
    """Per library what this release asks for, as `>=3.11`; empty where it was not installed."""
    try:
        found = {"python": metadata("mishards")["Requires-Python"] or ""}
        needs = requires("mishards") or []
    except PackageNotFoundError:
        return {}
    for need in needs:
        name = _NAME.match(need)
        if name is not None and "extra ==" not in need:
            found[name.group(0).lower()] = need[name.end() :].partition(";")[0].strip()
    return found


def judge_versions(
    here: Mapping[str, str], nodes: Sequence[NodeFacts], bounds: Mapping[str, str]
) -> Iterator[Finding]:
    """What follows from the versions that nodes have.

    Args:
        here: versions of the libraries of this process, by name.
        bounds: as `supported_bounds`.
    """
    yield from _releases(nodes)
    places = {"this machine": here}
    for node in nodes:
        if node.condition is not None:
            places[node.id] = node.condition.libraries
    wrong: dict[str, list[str]] = defaultdict(list)
    for place, libraries in places.items():
        for name, version in libraries.items():
            if not _fits(version, bounds.get(name, "")):
                wrong[f"{name} {version} (supported: {bounds[name]})"].append(place)
    for what, where in wrong.items():
        yield LIBRARIES.failure(
            f"{what} on {listed(where)}",
            "install the release with its dependencies: pip install --upgrade mishards",
        )
    if not wrong:
        told = ", ".join(f"{name} {version}" for name, version in here.items())
        yield LIBRARIES.ok(f"all are supported; here: {told}")


def _releases(nodes: Sequence[NodeFacts]) -> Iterator[Finding]:
    answering = [node for node in nodes if node.answers]
    by_release: dict[str, list[str]] = defaultdict(list)
    for node in answering:
        release = "an older one" if node.condition is None else node.condition.release
        by_release[release].append(node.id)
    if len(by_release) > 1:
        told = "; ".join(f"{release}: {listed(ids)}" for release, ids in sorted(by_release.items()))
        yield RELEASE.warning(f"several releases: {told}", "finish the upgrade of all nodes")
    elif by_release:
        yield RELEASE.ok(f"all nodes run {next(iter(by_release))}")


def _fits(version: str, bounds: str) -> bool:
    """Whether a version is within bounds such as `>=2.6,<4`; others than these two are not told."""
    found = _numbers(version)
    for relation, text in _BOUND.findall(bounds):
        bound = _numbers(text)
        size = max(len(found), len(bound))
        one, other = _filled(found, size), _filled(bound, size)
        if (relation == ">=" and one < other) or (relation == "<" and one >= other):
            return False
    return True


def _numbers(version: str) -> Version:
    """The leading numbers of a version; what follows them, as `rc1`, does not count."""
    numbers: list[int] = []
    for part in version.split("."):
        digits = re.match(r"\d+", part)
        if digits is None:
            break
        numbers.append(int(digits.group(0)))
    return tuple(numbers)


def _filled(version: Version, size: int) -> Version:
    return version + (0,) * (size - len(version))
