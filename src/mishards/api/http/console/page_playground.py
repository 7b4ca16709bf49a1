"""The playground: a form, and below it what the search gave."""

from __future__ import annotations

from mishards.api.http.console.collections import database_names, sorted_views
from mishards.api.http.console.figures import duration, plural
from mishards.api.http.console.frame import badge, document, section, table
from mishards.api.http.console.markup import Child, Html, el
from mishards.api.http.console.page_traces import waterfall_section
from mishards.api.http.console.playground import Found, Outcome
from mishards.api.http.console.query import MOST_HITS, Asked
from mishards.metadata.snapshot import MetadataSnapshot

_MOST_NAMES = 500


def playground_page(snapshot: MetadataSnapshot, outcome: Outcome) -> str:
    """The page; without anything sent the form alone."""
    names = database_names(snapshot)
    listed = [v for v in sorted_views(snapshot) if v.meta.loaded_partitions][:_MOST_NAMES]
    chosen = [f"{names.get(view.meta.database_id, '')}/{view.name}" for view in listed]
    asked = outcome.asked
    if asked.collection and asked.collection not in chosen:
        chosen.insert(0, asked.collection)
    if not chosen:
        nothing = el("p", "No collection is loaded: there is nothing to search yet.", class_="none")
        return document("Playground", "/playground", nothing, live=False)
    result: Child = None
    if outcome.error:
        result = _failure(outcome)
    elif outcome.found is not None:
        result = _result(outcome.found)
    return document("Playground", "/playground", _form(asked, chosen), result, live=False)


def _form(asked: Asked, names: list[str]) -> Html:
    options = [el("option", name, value=name, selected=name == asked.collection) for name in names]
    by = [
        el(
            "label",
            el("input", type="radio", name="by", value=value, checked=asked.by == value),
            " ",
            words,
        )
        for value, words in (
            ("random", "a random row"),
            ("id", "a row by id"),
            ("vector", "a vector"),
        )
    ]
    return el(
        "form",
        _field("Collection", el("select", options, id="collection", name="collection")),
        el("fieldset", el("legend", "Search with the vector of"), by),
        _field("Id", _input("id", asked.id), "for a row by id"),
        _field(
            "Vector",
            el("textarea", asked.vector, id="vector", name="vector", rows=3, spellcheck="false"),
            "numbers, separated by commas or blanks",
        ),
        _field("Vector field", _input("field", asked.field), "empty for the first"),
        _field("Filter", _input("filter", asked.filter), 'such as price < 10 and title like "a%"'),
        _field("Output fields", _input("output", asked.output), "empty for all but vectors"),
        _field("Search parameters", _input("params", asked.params), 'JSON, such as {"ef": 100}'),
        _field(
            "Limit",
            el(
                "input",
                id="limit",
                name="limit",
                type="number",
                value=asked.limit,
                min=1,
                max=MOST_HITS,
                required=True,
            ),
        ),
        el("div", el("button", "Search"), class_="send"),
        method="post",
        action="/playground#result",
        class_="form",
    )


def _field(label: str, control: Html, hint: str = "") -> Html:
    name = label.lower().replace("vector field", "field").replace("output fields", "output")
    name = name.replace("search parameters", "params")
    return el(
        "div",
        el("label", label, for_=name),
        control,
        el("small", hint, class_="hint") if hint else None,
        class_=f"field field-{name}",
    )


def _input(name: str, value: str) -> Html:
    return el("input", id=name, name=name, value=value, autocomplete="off", spellcheck="false")


def _failure(outcome: Outcome) -> Html:
    return el(
        "section",
        el("h2", badge("broken", "The search failed")),
        el("pre", outcome.error, class_="wrap"),
        el("p", f"Milvus's code {outcome.code}", class_="note"),
        id="result",
        class_="verdict broken",
        role="alert",
    )


def _result(found: Found) -> Html:
    columns = ("#rank", "id", f"#distance ({found.metric})", *found.columns)
    rows: list[tuple[str, list[Child]]] = [
        (
            str(at),
            [at + 1, el("span", hit.key, class_="id"), f"{hit.distance:.6g}", *hit.values],
        )
        for at, hit in enumerate(found.hits)
    ]
    using = f" with the vector of row {found.searched_with}" if found.searched_with else ""
    partial = None
    if found.missing:
        partial = el("p", badge("warning", "partial"), f" Not searched: {'; '.join(found.missing)}")
    return el(
        "div",
        section(
            "Hits",
            partial,
            el(
                "div",
                table("Hits, best first", columns, rows),
                class_="wide",
                tabindex=0,
                role="region",
                aria_label="Hits",
            ),
            note=f"{plural(len(rows), 'hit')} in {duration(found.took_s)}{using}",
        ),
        el("h2", "Explained"),
        waterfall_section(found.explained),
        id="result",
    )
