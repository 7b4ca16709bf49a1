"""The console in a real Chromium: clusters made up (empty, large, broken), and one that runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from mishards.core.ids import LogId, NodeId
from mishards.observability.spans import Span, SpanEvent, Trace
from mishards.proxy.cluster_state import ClusterState
from mishards.testing.client_rows import connected
from mishards.testing.console_states import broken, made_state, made_view
from mishards.testing.local_cluster import LocalCluster, LocalProcess, free_port
from mishards.testing.made_console import MadeConsole

EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"
TOKEN = "correct-horse-battery-staple"
PATIENCE_MS = 30_000
TRACE = Trace(
    "ab" * 16,
    False,
    (
        Span("Search", 1, 0, 10**18, 10**18 + 10**9, "proxy-1", {"collection": EVIL}),
        Span(
            *("do_search", 2, 1, 10**18 + 10**6, 10**18 + 10**9, EVIL),
            {"k": 10},
            (SpanEvent("retry", 10**18 + 10**8, {"why": EVIL}),),
            EVIL,
        ),
    ),
)
PATHS = (
    *("/", "/ring", "/collections", "/collections/default/products", "/playground"),
    *("/slow", f"/slow/{TRACE.trace_id}", "/signin"),
)
FAULTS = """() => {
  const faults = [];
  const channel = v => v <= 10 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4;
  const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
  const parsed = text => text.match(/[\\d.]+/g).map(Number);
  const ground = e => {
    for (; e; e = e.parentElement) {
      const c = parsed(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.nodeValue.trim());
    const style = getComputedStyle(e);
    if (!own || !e.checkVisibility() || e.closest('.unseen, .off, option')) continue;
    const color = e.namespaceURI.endsWith('svg') ? style.fill : style.color;
    const [a, b] = [light(parsed(color)), light(ground(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faults.push(`contrast ${ratio.toFixed(2)}: ${e.textContent.slice(0, 40)}`);
  }
  for (const e of document.querySelectorAll('input:not([type=hidden]), select, textarea')) {
    if (!e.labels.length) faults.push(`no label: ${e.name}`);
  }
  for (const e of document.querySelectorAll('a, button')) {
    if (!e.textContent.trim()) faults.push(`no name: ${e.outerHTML}`);
  }
  for (const e of document.querySelectorAll('svg[role=img]')) {
    if (!e.querySelector('title')) faults.push('a drawing without words');
  }
  for (const e of document.querySelectorAll('th')) {
    if (!e.scope) faults.push('a heading of a table without scope');
  }
  const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
  if (new Set(ids).size < ids.length) faults.push(`an id twice: ${ids}`);
  if (document.querySelectorAll('h1').length !== 1) faults.push('not one h1');
  const over = document.documentElement.scrollWidth - innerWidth;
  if (over > 0) faults.push(`${over} pixels too wide`);
  return faults;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        lack = "chromium is not installed; .ci/services installs it"
        (pytest.fail if os.environ.get("REQUIRE_SERVICES") == "1" else pytest.skip)(lack)
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield found
        found.close()


def opened(browser: Browser, *, width: int = 1280, scheme: Any = "light") -> tuple[Page, list[str]]:
    """A page, and what goes wrong on it: errors, and requests to elsewhere."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    context.set_default_timeout(PATIENCE_MS)
    page, wrong = context.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))

    def look(url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "http://localhost:")):
            wrong.append(f"asked for {url}")

    page.on("request", lambda request: look(request.url))
    return page, wrong


def evil(state: ClusterState) -> ClusterState:
    """With markup wherever a node may say something."""
    reply = msgspec.structs.replace(
        state.replies[NodeId("reader-2")],
        details={EVIL: EVIL},
        quarantined=dict.fromkeys(list(state.replies[NodeId("reader-2")].segments)[:1], EVIL),
    )
    nodes = tuple(
        msgspec.structs.replace(node, edge=EVIL, address=EVIL) if node.id == "reader-3" else node
        for node in state.nodes
    )
    return msgspec.structs.replace(
        state, nodes=nodes, replies={**state.replies, NodeId("reader-2"): reply}
    )


VIEWS = (made_view(1, 24, name="products", replicas=2), made_view(2, 0, name="reviews"))
STATES = {
    "healthy": lambda: made_state(*VIEWS),
    "empty": lambda: made_state(readers=0, writers=0),
    "broken": lambda: evil(broken(made_state(*VIEWS))),
    "large": lambda: made_state(
        *(made_view(n, 100, first_segment=100 * n, name=f"c{n:03}") for n in range(2, 60)),
        made_view(1, 90, name="products"),
        readers=300,
    ),
}


@pytest.mark.parametrize("name", STATES)
def test_every_page_is_sound_wide_and_narrow_light_and_dark(browser: Browser, name: str):
    with MadeConsole(STATES[name](), TRACE) as console:
        wide, narrow = (1280, "light"), (360, "dark")
        looks = {"healthy": [wide], "broken": [wide, narrow]}.get(name, [narrow])
        for width, scheme in looks:
            page, wrong = opened(browser, width=width, scheme=scheme)
            for path in PATHS:
                if name == "empty" and "products" in path:
                    continue
                page.goto(console.address + path)
                assert page.evaluate(FAULTS) == [], path
                assert page.locator("img, main script").count() == 0
            assert wrong == []
            page.context.close()


def test_the_keyboard_reaches_everything_and_shows_where_it_is(browser: Browser):
    with MadeConsole(made_state(*VIEWS), TRACE) as console:
        page, wrong = opened(browser)
        page.goto(console.address)
        page.keyboard.press("Tab")
        expect(page.locator(".skip")).to_be_focused()
        expect(page.locator(".skip")).to_be_in_viewport()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()
        page.goto(console.address)
        met = []
        for _ in range(9):
            page.keyboard.press("Tab")
            met.append(page.evaluate("document.activeElement.textContent.trim()"))
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            if met[-1] == "Ring":
                break
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("Ring")
        assert met == ["Skip to the content", "◉ Mishards", "Overview", "Ring"]
        assert wrong == []
        page.context.close()


def test_pages_keep_up_without_losing_the_reader_and_say_when_they_cannot(browser: Browser):
    console = MadeConsole(made_state(*VIEWS))
    with console:
        page, _ = opened(browser, width=360)
        page.goto(console.address + "/collections")
        page.locator("#part").fill("half a wo")
        page.evaluate("scrollTo(0, 120)")
        scrolled = page.evaluate("scrollY")
        console.look.now = made_state(*VIEWS, made_view(3, 2, name="newer", first_segment=900))
        expect(page.locator("tbody tr")).to_have_count(3)
        expect(page.locator("#part")).to_be_focused()
        assert page.locator("#part").input_value() == "half a wo"
        assert page.evaluate("scrollY") == scrolled > 0
        expect(page.locator("#stale")).to_be_hidden()
    expect(page.locator("#stale")).to_contain_text("does not answer")
    page.context.close()


def test_a_cluster_that_breaks_says_so_and_recovers_on_the_same_page(browser: Browser):
    healthy = made_state(*VIEWS)
    with MadeConsole(healthy) as console:
        page, wrong = opened(browser)
        page.goto(console.address)
        expect(page.locator(".headline")).to_contain_text("All is well")
        console.look.now = broken(healthy)
        expect(page.locator(".headline")).to_contain_text("Broken")
        expect(page.locator(".verdict li").first).to_contain_text("writer-1, does not answer")
        console.look.now = msgspec.structs.replace(healthy, heard_ago_s={LogId(0): 60.0})
        expect(page.locator(".headline")).to_contain_text("something to look at")
        assert wrong == []
        page.context.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, LocalProcess]]:
    """Address of the console of a cluster of processes with a token and rows, and its writer."""
    port = free_port()
    with LocalCluster(tmp_path_factory.mktemp("console")) as cluster:
        writer = cluster.start("writer", name="writer")
        reader = cluster.start("reader", name="reader")
        http = (f"http.port={port}", "http.enabled=true", f"http.token={TOKEN}", "proxy.linger_s=0")
        options = [word for setting in http for word in ("--set", setting)]
        proxy = cluster.start("proxy", *options, name="proxy")
        for process in (writer, reader, proxy):
            process.wait_ready()
        with connected(cluster.uri) as client:
            client.create_collection("books", 4, metric_type="L2", consistency_level="Strong")
            vectors = np.eye(4, dtype=np.float32)
            rows = [{"id": n, "vector": vectors[n].tolist(), "title": EVIL} for n in range(4)]
            client.insert("books", rows)
        yield f"http://127.0.0.1:{port}", writer


def test_the_token_opens_a_running_cluster_to_search_and_to_steer(
    browser: Browser, running: tuple[str, LocalProcess]
):
    address, writer = running
    page, wrong = opened(browser)
    page.goto(address + "/collections")
    expect(page).to_have_url(address + "/signin")
    page.get_by_label("Token").fill("a guess")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert").filter(has_text="not the token")).to_be_visible()
    assert page.context.cookies() == []
    wrong.clear()  # The browser notes the answer 403 itself.
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".headline")).to_contain_text("All is well")
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert TOKEN not in str(cookie)

    page.get_by_role("link", name="Playground").click()
    page.get_by_label("a row by id").check()
    page.get_by_label("Id", exact=True).fill("2")
    page.get_by_label("Filter").fill("id >= 1")
    page.get_by_label("Output fields").fill("title")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#result .wide tbody tr")).to_have_count(3)
    first = page.locator("#result .wide tbody tr").first
    expect(first).to_contain_text("2")
    assert first.locator("td").nth(1).inner_text() == "0"
    assert EVIL in first.inner_text()
    expect(page.locator(".waterfall tbody tr").first).to_contain_text("Search")
    expect(page.locator(".waterfall")).to_contain_text('collection="books"')
    page.get_by_label("a random row").check()
    page.get_by_label("Filter").fill("")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#result .wide tbody tr")).to_have_count(4)
    page.get_by_label("Filter").fill("id >>> 1")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#result")).to_contain_text("1100")
    page.get_by_label("a vector").check()
    page.get_by_label("Vector", exact=True).fill("0 0 0 1")
    page.get_by_label("Filter").fill("")
    page.get_by_role("button", name="Search").click()
    assert page.locator("#result .wide tbody tr").first.locator("td").first.inner_text() == "3"

    page.goto(address + "/collections/default/books")
    page.get_by_role("button", name="Flush").click()
    expect(page.locator("main")).to_contain_text("Flushed: its rows are in 1 segment.")
    page.get_by_role("link", name="Back to the collection").click()
    expect(page.locator(".tile").first).to_contain_text("4")
    page.get_by_role("button", name="Release").click()
    assert page.url == address + "/collections/default/books", "it asks whether one is sure"
    forged = page.request.post(
        address + "/steer", form={"action": "flush", "collection": "default/books", "proof": "x"}
    )
    assert forged.status == 403
    assert wrong == []

    writer.kill()
    page.goto(address)
    expect(page.locator(".headline")).to_contain_text("Broken")
    expect(page.locator(".verdict li").first).to_contain_text("searches go on")
    page.goto(address + "/signin")
    page.get_by_role("button", name="Sign out").click()
    page.goto(address)
    expect(page).to_have_url(address + "/signin")
    page.context.close()
