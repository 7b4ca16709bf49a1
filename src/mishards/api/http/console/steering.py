"""What the console changes, for those who have shown the token: collections are sealed, compacted,
loaded and released."""

from __future__ import annotations

import logging

from mishards.api.http.console.figures import plural
from mishards.api.http.console.markup import Html, el
from mishards.core.errors import InvalidParameter
from mishards.proxy.calls import ProxyApi
from mishards.rpc.messages import Load, Release

_log = logging.getLogger(__name__)

ACTIONS = {
    "flush": ("Flush", "Seal the growing rows into segments."),
    "compact": ("Compact", "Merge small segments, fold deleted rows in."),
    "load": ("Load", "Let it be searched."),
    "release": ("Release", "Searches of it fail until it is loaded again."),
}


def steering_section(database: str, name: str, *, loaded: bool, proof: str) -> Html:
    """The buttons for a collection, for one who may press them."""
    shown = [key for key in ACTIONS if key != ("load" if loaded else "release")]
    return el(
        "section",
        el("div", el("h2", "Steer", id="steer"), class_="head"),
        el("div", [_form(key, f"{database}/{name}", proof) for key in shown], class_="steer"),
        aria_labelledby="steer",
    )


def _form(action: str, collection: str, proof: str) -> Html:
    label, meaning = ACTIONS[action]
    sure = None
    if action == "release":
        sure = el(
            "label",
            el("input", type="checkbox", name="sure", value="yes", required=True),
            " I am sure ",
        )
    return el(
        "form",
        el("input", type="hidden", name="action", value=action),
        el("input", type="hidden", name="collection", value=collection),
        el("input", type="hidden", name="proof", value=proof),
        sure,
        el("button", label, class_="grave" if sure else None),
        el("small", meaning, class_="below"),
        method="post",
        action="/steer",
    )


async def steer(proxy: ProxyApi, action: str, collection: str) -> str:
    """Do it; says what came of it.

    Raises:
        InvalidParameter: there is no such action.
        MishardsError: what the cluster answered.
    """
    database, _, name = collection.partition("/")
    view = proxy.snapshot.resolve(database, name)
    _log.info("the console was told to %s collection %s of %s", action, view.name, database)
    if action == "flush":
        flushed = await proxy.flush(database, [name])
        made = sum(map(len, flushed.segments.values()))
        return f"Flushed: its rows are in {plural(made, 'segment')}."
    if action == "compact":
        started = await proxy.compact(view)
        return f"Compaction {started} is noted; segments change as it goes on."
    if action == "load":
        await proxy.ddl(
            Load(database=database, collection=name, replica_number=view.meta.replica_number or 1)
        )
        return "Loaded: it can be searched; readers open its segments now."
    if action == "release":
        await proxy.ddl(Release(database=database, collection=name))
        return "Released: it cannot be searched until it is loaded again."
    raise InvalidParameter(f"action {action[:40]!r} is none of {', '.join(ACTIONS)}")
