"""What one look at a cluster comes to, made of what nodes say and measure.

Pure: from what was gathered at two moments to the figures between them. None stands for what is not
known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from mishards.core.ids import Timestamp
from mishards.core.timestamps import physical_ms
from mishards.doctor.nodes import NodeFacts
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.observability import metrics as m
from mishards.top.samples import Scrape, quantile, rate


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What was gathered at one moment.

    Attributes:
        at_s: on the monotonic clock.
        scrapes: by node.
        problems: what could not be asked, and why.
    """

    at_s: float
    nodes: tuple[NodeFacts, ...] = ()
    scrapes: dict[str, Scrape] = {}
    snapshot: MetadataSnapshot = MetadataSnapshot()
    problems: tuple[str, ...] = ()


class NodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """One node.

    Attributes:
        state: `ready`, `not ready` or `no answer`.
        calls_s: calls of clients at a proxy, else sub-requests at a reader, else entries of a
            writer's log, a second.
        p50_s, p99_s: of searches.
        cpu: share of one processor.
        lag_s: behind the leader, of the log that is furthest behind; 0 at the leader.
        cache_bytes: copies of segments on its disk.
    """

    id: str
    roles: tuple[str, ...]
    leads: tuple[int, ...]
    epochs: tuple[int, ...]
    state: str
    calls_s: float | None = None
    p50_s: float | None = None
    p99_s: float | None = None
    cpu: float | None = None
    resident_bytes: int | None = None
    lag_s: float | None = None
    cache_bytes: float | None = None
    segments: int | None = None


class CollectionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One collection; `open` counts its loaded segments that a reader has open."""

    database: str
    name: str
    loaded: bool
    rows: int
    growing: int
    segments: int
    open: int
    size_bytes: int


class View(msgspec.Struct, frozen=True, kw_only=True):
    """One frame's worth."""

    version: int
    nodes: tuple[NodeRow, ...]
    collections: tuple[CollectionRow, ...]
    leaders: dict[int, str]
    problems: tuple[str, ...]


def view_of(before: Look, now: Look) -> View:
    """The figures between two looks."""
    newest = _newest(now.nodes)
    earlier = {node.id: node for node in before.nodes}
    rows = [
        _node(node, earlier.get(node.id), before, now, newest)
        for node in sorted(now.nodes, key=_order)
    ]
    leaders = {log: row.id for row in rows if row.state == "ready" for log in row.leads}
    return View(
        version=now.snapshot.version,
        nodes=tuple(rows),
        collections=_collections(now.snapshot, now.nodes),
        leaders=leaders,
        problems=now.problems,
    )


def _order(node: NodeFacts) -> tuple[int, str]:
    """Proxies first, then writers, then readers."""
    places = {"proxy": 0, "writer": 1, "reader": 2}
    return min((places.get(role, 3) for role in node.now.roles), default=3), node.id


def _node(
    node: NodeFacts,
    earlier: NodeFacts | None,
    before: Look,
    now: Look,
    newest: Mapping[int, Timestamp],
) -> NodeRow:
    said = node.now
    state = "no answer" if not node.answers else "ready" if said.ready else "not ready"
    row = NodeRow(id=node.id, roles=said.roles, leads=said.leads, epochs=said.epochs, state=state)
    if node.condition is not None:
        row = msgspec.structs.replace(
            row, resident_bytes=node.condition.resident_bytes, cpu=_cpu(node, earlier, before, now)
        )
    if node.status is not None:
        row = msgspec.structs.replace(row, lag_s=_lag(node, newest))
        if "reader" in said.roles:
            row = msgspec.structs.replace(row, segments=len(node.status.segments))
    scrape, last = now.scrapes.get(node.id), before.scrapes.get(node.id)
    if scrape is None or last is None:
        return row
    return _measured(row, last, scrape)


def _measured(row: NodeRow, last: Scrape, scrape: Scrape) -> NodeRow:
    if "proxy" in row.roles:
        calls, timed = rate(last, scrape, _total(m.REQUESTS)), m.REQUEST_SECONDS
        labels = {"method": "Search"}
    elif "reader" in row.roles:
        calls, timed = rate(last, scrape, _total(m.READER_REQUESTS)), m.READER_STAGE_SECONDS
        labels = {"stage": "search"}
    else:
        # An entry holds the writes that arrived together.
        calls, timed = rate(last, scrape, _count(m.COMMIT_MUTATIONS)), m.WRITER_STAGE_SECONDS
        labels = {"stage": "append"}
    return msgspec.structs.replace(
        row,
        calls_s=calls,
        p50_s=quantile(last, scrape, timed, 0.5, **labels),
        p99_s=quantile(last, scrape, timed, 0.99, **labels),
        cache_bytes=scrape.gauge(m.CACHE_BYTES),
    )


def _total(metric: m.Declared) -> m.Declared:
    """A counter's sample is called by its name with `_total`, whether the name ends with it or
    not."""
    name = metric.name
    return m.Declared(name if name.endswith("_total") else f"{name}_total", metric.help)


def _count(metric: m.Declared) -> m.Declared:
    """Of a histogram, how many observations there were."""
    return m.Declared(f"{metric.name}_count", metric.help)


def _cpu(node: NodeFacts, earlier: NodeFacts | None, before: Look, now: Look) -> float | None:
    if earlier is None or earlier.condition is None or node.condition is None:
        return None
    seconds = now.at_s - before.at_s
    used_s = node.condition.cpu_s - earlier.condition.cpu_s
    return used_s / seconds if seconds > 0 and used_s >= 0 else None


def _newest(nodes: Sequence[NodeFacts]) -> dict[int, Timestamp]:
    """Per log the timestamp that its leader has come to."""
    found: dict[int, tuple[int, Timestamp]] = {}
    for node in nodes:
        if node.status is None:
            continue
        for log, timestamp in node.status.applied_ts.items():
            reign = node.now.reign(log)
            if reign >= 0 and reign >= found.get(log, (-1, Timestamp(0)))[0]:
                found[log] = reign, timestamp
    return {log: timestamp for log, (_, timestamp) in found.items()}


def _lag(node: NodeFacts, newest: Mapping[int, Timestamp]) -> float | None:
    assert node.status is not None
    behind = [
        physical_ms(last) - physical_ms(timestamp)
        for log, timestamp in node.status.applied_ts.items()
        if (last := newest.get(log)) is not None
    ]
    return max(0, *behind, 0) / 1000 if behind else None


def _collections(
    snapshot: MetadataSnapshot, nodes: Sequence[NodeFacts]
) -> tuple[CollectionRow, ...]:
    statuses = [node.status for node in nodes if node.status is not None]
    opened = set().union(*(status.segments for status in statuses))
    databases = {database.id: database.name for database in snapshot.databases.values()}

    def row(view: CollectionView) -> CollectionRow:
        return CollectionRow(
            database=databases.get(view.meta.database_id, ""),
            name=view.name,
            loaded=bool(view.meta.loaded_partitions),
            rows=sum(segment.rows for segment in view.segments.values()),
            growing=max((status.growing_rows.get(view.id, 0) for status in statuses), default=0),
            segments=len(view.segments),
            open=sum(segment in opened for segment in view.segments),
            size_bytes=sum(segment.size_bytes for segment in view.segments.values()),
        )

    return tuple(sorted(map(row, snapshot.collections.values()), key=lambda r: -r.rows))


def events_between(before: View, now: View) -> list[str]:
    """What changed from one view to the next, in words."""
    old, new = ({row.id: row for row in view.nodes} for view in (before, now))
    found = [f"{name} joined" for name in new if name not in old]
    found += [f"{name} is gone" for name in old if name not in new]
    found += [
        f"{name}: {old[name].state} → {row.state}"
        for name, row in new.items()
        if name in old and old[name].state != row.state
    ]
    for log in sorted({*before.leaders, *now.leaders}):
        one, other = before.leaders.get(log, "nobody"), now.leaders.get(log, "nobody")
        if one != other:
            found.append(f"log {log}: leader {one} → {other}")
    names = {(row.database, row.name) for row in before.collections}
    names_now = {(row.database, row.name) for row in now.collections}
    found += [f"collection {name} created" for _, name in sorted(names_now - names)]
    found += [f"collection {name} dropped" for _, name in sorted(names - names_now)]
    return found
