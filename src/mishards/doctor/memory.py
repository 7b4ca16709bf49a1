"""Memory and limits of processes against what they have to hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mishards.doctor.findings import Check, Finding
from mishards.doctor.nodes import NodeFacts
from mishards.doctor.serving import loaded_segments
from mishards.doctor.words import size
from mishards.metadata.snapshot import MetadataSnapshot

OWN = Check(
    "memory.own",
    "Is what a process holds outside of files well below its limit?",
    "a process that reaches the limit of its control group is killed",
)
DATA = Check(
    "memory.data",
    "Do the loaded collections fit into the memory of the readers?",
    "what does not fit is read from disk again and again: searches become many times slower",
)
CACHE = Check(
    "memory.cache",
    "Do the loaded collections fit into the readers' caches of files?",
    "segments push each other out, and are fetched from storage again and again",
)
FILES = Check(
    "limits.files",
    "May the processes open as many files as they need?",
    "beyond the limit segments cannot be opened and connections are refused",
)
AREAS = Check(
    "limits.areas",
    "May the processes map as many files as they need (vm.max_map_count)?",
    "beyond the limit segments cannot be opened, and threads not be started",
)
CHECKS = (OWN, DATA, CACHE, FILES, AREAS)

_FULL = 0.9
_NEAR = 0.8
_FEW_FILES = 4096


def judge_memory(
    snapshot: MetadataSnapshot | None, nodes: Sequence[NodeFacts]
) -> Iterator[Finding]:
    """What follows from the limits of processes and the sizes of what is loaded."""
    told = [node for node in nodes if node.condition is not None]
    if not told:
        return
    yield from _own(told)
    if snapshot is not None:
        yield from _data(snapshot, told)
    yield from _files(told)
    yield from _areas(told)


def _own(nodes: Sequence[NodeFacts]) -> Iterator[Finding]:
    well = True
    for node in nodes:
        assert node.condition is not None
        own, limit = node.condition.own_bytes, node.condition.memory_limit_bytes
        if limit and own > _FULL * limit:
            well = False
            yield OWN.failure(
                f"{node.id} holds {size(own)} of {size(limit)}",
                "give it more memory, or less to hold: more readers, a smaller writer.flush_bytes, "
                "smaller reader.mask_cache_bytes",
            )
    if well:
        most = max(node.condition.own_bytes for node in nodes if node.condition is not None)
        yield OWN.ok(f"no process holds more than {size(most)}")


def _data(snapshot: MetadataSnapshot, nodes: Sequence[NodeFacts]) -> Iterator[Finding]:
    readers = [node for node in nodes if "reader" in node.now.roles and node.serves]
    if not readers:
        return
    loaded, copies = 0, 0
    for view in snapshot.collections.values():
        held = sum(
            segment.size_bytes + sum(index.size_bytes for index in segment.indexes)
            for segment in loaded_segments(view)
        )
        loaded += held
        copies += held * min(len(readers), max(1, view.meta.replica_number))
    # Readers on one machine share its memory, and files that both have mapped are there once; so
    # each machine counts once.
    machines = {
        (node.now.host, node.condition.memory_limit_bytes)
        for node in readers
        if node.condition is not None
    }
    limits = [limit for _, limit in machines if limit]
    if limits and len(limits) == len(machines):
        told = (
            f"{size(loaded)} are loaded, {size(copies)} with replicas; the readers' machines and "
        )
        told += f"groups have {size(sum(limits))}"
        if min(copies, loaded * len(machines)) > sum(limits):
            yield DATA.warning(
                told,
                "add memory or readers, load less, or use IVF_SQ8 or IVF_PQ, which are smaller",
            )
        else:
            yield DATA.ok(told)
    yield from _cache(readers, copies)


def _cache(readers: Sequence[NodeFacts], copies: int) -> Iterator[Finding]:
    caching = [n.condition for n in readers if n.condition is not None and n.condition.cache_folder]
    if not caching:
        return
    bounded = [one.cache_limit_bytes for one in caching if one.cache_limit_bytes]
    told = f"{size(copies)} with replicas are to be held"
    if len(bounded) == len(caching) and sum(bounded) < copies:
        yield CACHE.warning(
            f"{told}; the caches may take {size(sum(bounded))} (reader.cache_bytes)",
            "raise reader.cache_bytes, add readers, or load less",
        )
    else:
        yield CACHE.ok(told)


def _files(nodes: Sequence[NodeFacts]) -> Iterator[Finding]:
    todo = "raise the limit of open files: LimitNOFILE= in systemd, --ulimit nofile= in Docker"
    well = True
    for node in nodes:
        assert node.condition is not None
        used, limit = node.condition.open_files, node.condition.open_files_limit
        if limit and used > _NEAR * limit:
            well = False
            yield FILES.failure(f"{node.id} has {used:,} files open of {limit:,}", todo)
    low = [n.condition.open_files_limit for n in nodes if n.condition is not None]
    few = [limit for limit in low if 0 < limit < _FEW_FILES]
    if well and few:
        yield FILES.note(f"processes may open {min(few):,} files; fine for few segments", todo)
    elif well:
        yield FILES.ok("no process is near its limit")


def _areas(nodes: Sequence[NodeFacts]) -> Iterator[Finding]:
    well = True
    for node in nodes:
        assert node.condition is not None
        used, limit = node.condition.mapped_areas, node.condition.mapped_areas_limit
        if limit and used > _NEAR * limit:
            well = False
            yield AREAS.failure(
                f"{node.id} has {used:,} memory areas of {limit:,}",
                f"on its machine: sysctl -w vm.max_map_count={4 * limit}",
            )
    if well:
        yield AREAS.ok("no process is near the limit")
