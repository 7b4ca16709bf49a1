"""What is around each page, and what pages are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from mishards.api.http.console.figures import plural
from mishards.api.http.console.markup import Child, Html, el, join
from mishards.api.http.console.paging import Page

PAGES = (
    ("/", "Overview"),
    ("/ring", "Ring"),
    ("/collections", "Collections"),
    ("/slow", "Slow searches"),
    ("/playground", "Playground"),
)
REFRESH_S = 3
CONDITIONS = {
    "ready": "good",
    "suspected": "warning",
    "not ready": "warning",
    "no answer": "broken",
    "not asked": "quiet",
}
"""Kinds of badges for how a node is."""


def document(title: str, here: str, *content: Child, live: bool = True) -> str:
    """A whole page.

    Args:
        here: path of the page that the navigation marks.
        live: whether the page brings itself up to date.
    """
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", f"{title} · Mishards"),
        el("link", rel="icon", href="/assets/icon.svg"),
        el("link", rel="stylesheet", href="/assets/console.css"),
        el("script", type="module", src="/assets/console.js"),
    )
    links = [
        el("li", el("a", name, href=path, aria_current="page" if path == here else None))
        for path, name in PAGES
    ]
    body = el(
        "body",
        el("a", "Skip to the content", class_="skip", href="#main"),
        el(
            "header",
            el("a", el("span", "◉", aria_hidden="true"), " Mishards", class_="brand", href="/"),
            el("nav", el("ul", links), aria_label="Pages"),
            el("a", "Sign in", class_="signed", href="/signin"),
        ),
        el("p", id="stale", role="alert", hidden=True),
        el(
            "main",
            el("h1", title),
            *content,
            id="main",
            tabindex=-1,
            data_refresh=REFRESH_S if live else None,
        ),
    )
    return "<!doctype html>\n" + el("html", head, body, lang="en")


def section(title: str, *content: Child, note: Child = None) -> Html:
    """A part of a page under a heading."""
    name = title.lower().replace(" ", "-")
    heading = el("h2", title, id=name)
    return el(
        "section",
        el("div", heading, None if note is None else el("p", note, class_="note"), class_="head"),
        *content,
        aria_labelledby=name,
    )


def table(
    caption: str, columns: Sequence[str], rows: Iterable[tuple[str, Sequence[Child]]]
) -> Html:
    """A table; on narrow screens each row is a card.

    Args:
        caption: what it shows, for those who cannot see it.
        columns: their headings; `#` before one means numbers.
        rows: each with what tells it from others; its first cell is its heading.
    """
    heads = [column.removeprefix("#") for column in columns]
    kinds = ["number" if column.startswith("#") else None for column in columns]
    body = [
        el(
            "tr",
            el("th", cells[0], scope="row", role="rowheader"),
            [
                el("td", el("div", cell), data_label=head, class_=kind, role="cell")
                for head, kind, cell in zip(heads[1:], kinds[1:], cells[1:], strict=True)
            ],
            data_key=key,
            role="row",
        )
        for key, cells in rows
    ]
    if not body:
        return el("p", "None.", class_="none")
    # Roles are said because a table that is laid out as cards loses its own.
    return el(
        "table",
        el("caption", caption, class_="unseen"),
        el(
            "thead",
            el(
                "tr",
                [
                    el("th", head, scope="col", role="columnheader", class_=kind)
                    for head, kind in zip(heads, kinds, strict=True)
                ],
                role="row",
            ),
            role="rowgroup",
        ),
        el("tbody", body, role="rowgroup"),
        role="table",
    )


def pager(page: Page[Any], path: str, what: str, **kept: str) -> Html:
    """Links to the pages before and after, where there are any."""
    said = plural(page.total, what)
    if page.pages == 1:
        return join()

    def link(number: int, text: str) -> Html:
        if not 1 <= number <= page.pages:
            return el("span", text, class_="off")
        return el("a", text, href=url(path, page=str(number), **kept))

    return el(
        "nav",
        link(page.number - 1, "← Previous"),
        el("span", f"page {page.number} of {page.pages}, {said}"),
        link(page.number + 1, "Next →"),
        class_="pager",
        aria_label=f"Pages of {what}s",
    )


def badge(kind: str, text: str) -> Html:
    """A word with a sign and a colour; `kind` is good, warning, broken or quiet."""
    sign = {"good": "●", "warning": "▲", "broken": "✕", "quiet": "○"}[kind]
    return el("span", el("span", sign, aria_hidden="true"), " ", text, class_=f"badge {kind}")


def tile(name: str, value: str, note: Child = None, kind: str = "") -> Html:
    """A figure with its name."""
    return el(
        "div",
        el("dt", name),
        el("dd", value, class_=kind or None),
        None if note is None else el("dd", note, class_="note"),
        class_="tile",
    )


def url(path: str, **query: str) -> str:
    """A path of the console with its query; the values may be anything."""
    given = {key: value for key, value in query.items() if value}
    return f"{path}?{urlencode(given)}" if given else path


def collection_path(database: str, name: str) -> str:
    """Of a collection's page."""
    return f"/collections/{quote(database, safe='')}/{quote(name, safe='')}"
