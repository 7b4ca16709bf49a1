"""The first page: is all well, and if not, what is wrong and what to do."""

from __future__ import annotations

from mishards.api.http.console.figures import clock, count, duration, large, plural, size
from mishards.api.http.console.frame import CONDITIONS, badge, document, pager, section, table, tile
from mishards.api.http.console.markup import Child, Html, el
from mishards.api.http.console.nodes import LogRow, NodeRow
from mishards.api.http.console.overview import Overview, RoleCount
from mishards.api.http.console.problems import Problem

_MANY = {"proxy": "Proxies", "reader": "Readers", "writer": "Writers"}
_HEADLINES = {
    "healthy": ("good", "All is well"),
    "warning": ("warning", "Serving, with something to look at"),
    "broken": ("broken", "Broken"),
}


def overview_page(view: Overview) -> str:
    """The page."""
    return document(
        "Overview",
        "/",
        _verdict(view),
        _figures(view),
        _logs(view),
        _nodes(view),
    )


def _verdict(view: Overview) -> Html:
    kind, headline = _HEADLINES[view.verdict]
    seen = f"As of {clock(view.now_ms)}, as {view.proxy} sees it."
    return el(
        "section",
        el("p", badge(kind, headline), class_="headline", role="status"),
        el("p", seen, class_="note"),
        el("ul", [_problem(problem) for problem in view.problems]) if view.problems else None,
        class_=f"verdict {kind}",
        aria_label="Verdict",
    )


def _problem(problem: Problem) -> Html:
    kind = "broken" if problem.level == "broken" else "warning"
    return el(
        "li",
        el("p", badge(kind, problem.level), " ", problem.what),
        el("p", el("strong", "What to do: "), problem.todo),
    )


def _figures(view: Overview) -> Html:
    sealed = view.sealed
    return el(
        "dl",
        [_role(role) for role in view.roles],
        tile("Collections", count(view.collections)),
        tile("Rows, sealed", large(sealed.rows), f"in {plural(sealed.segments, 'segment')}"),
        tile("Rows, growing", large(view.growing), "searched, not sealed yet"),
        tile(
            "On storage",
            size(sealed.data_bytes + sealed.index_bytes),
            f"{size(sealed.index_bytes)} of it indexes",
        ),
        class_="tiles",
    )


def _role(role: RoleCount) -> Html:
    all_serve = role.serving == role.known
    return tile(
        _MANY[role.role],
        f"{role.serving:,} of {role.known:,}",
        "serving",
        "" if all_serve and role.known else "warning" if role.serving else "broken",
    )


def _logs(view: Overview) -> Html:
    columns = ("log", "leader", "#epoch", "#newest entry", "#standbys", "follower most behind")
    more = None if not view.more_logs else f"{plural(view.more_logs, 'more log')} not shown"
    rows = [(str(log.id), _log(log)) for log in view.logs]
    return section("Logs", table("Logs and their leaders", columns, rows), note=more)


def _log(log: LogRow) -> list[Child]:
    if log.answers:
        leader: Child = log.leader
    elif log.leader:
        leader = [badge("broken", "no answer"), " ", log.leader]
    else:
        leader = badge("broken", "no leader")
    lag = f"{log.most_behind}, {plural(log.entries_behind, 'entry', 'entries')}"
    return [
        f"log {log.id}",
        leader,
        count(log.epoch),
        count(log.end),
        count(log.standbys),
        lag if log.most_behind else "none is behind",
    ]


def _nodes(view: Overview) -> Html:
    columns = (
        *("node", "state", "roles", "#log lag", "#metadata lag"),
        *("#segments", "#growing rows", "address", "clients"),
    )
    rows = [(node.id, _node(node)) for node in view.nodes.items]
    return section(
        "Nodes",
        table("Nodes of the cluster", columns, rows),
        pager(view.nodes, "/", "node"),
        note=plural(view.nodes.total, "node"),
    )


def _node(node: NodeRow) -> list[Child]:
    answered = node.versions_behind is not None
    leads = [badge("quiet", f"leads log {log}") for log in node.leads]
    segments: Child = count(node.segments) if answered else "–"
    if node.quarantined:
        segments = [segments, " ", badge("broken", f"{node.quarantined} damaged")]
    return [
        el("span", node.id, class_="id"),
        badge(CONDITIONS[node.condition], node.condition),
        [", ".join(node.roles), [[" ", lead] for lead in leads]],
        _lag(node),
        _versions(node.versions_behind),
        segments,
        count(node.growing_rows) if answered else "–",
        el("span", node.address, class_="id"),
        el("span", node.edge or "–", class_="id"),
    ]


def _lag(node: NodeRow) -> str:
    if node.entries_behind is None:
        return "–"
    if not node.entries_behind:
        return "none"
    late = f", {duration(node.ms_behind / 1000)}" if node.ms_behind else ""
    return plural(node.entries_behind, "entry", "entries") + late


def _versions(behind: int | None) -> str:
    return "–" if behind is None else plural(behind, "version") if behind else "none"
