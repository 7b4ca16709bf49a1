"""What comes from data is never markup."""

from mishards.api.http.console.frame import collection_path, table, url
from mishards.api.http.console.markup import Html, el, join

EVIL = """<script>alert("1")</script>'&"""


def test_texts_and_attributes_are_escaped_and_elements_are_not():
    made = el("p", EVIL, el("b", "bold"), title=EVIL)
    assert made == (
        '<p title="&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#x27;&amp;">'
        "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#x27;&amp;<b>bold</b></p>"
    )


def test_what_is_made_of_markup_by_other_means_is_a_text_again():
    bold = el("b", "x")
    assert join(bold + EVIL) == "&lt;b&gt;x&lt;/b&gt;" + join(EVIL)
    assert join(f"{bold}") == "&lt;b&gt;x&lt;/b&gt;"
    assert not isinstance(bold.lower(), Html)


def test_attributes_are_named_and_left_out_as_they_should_be():
    made = el("input", class_="a", data_key=1, for_=None, hidden=True, disabled=False)
    assert made == '<input class="a" data-key="1" hidden/>'


def test_children_may_be_lists_numbers_and_nothing():
    assert el("ul", [el("li", n) for n in (1, 2.5)], None) == "<ul><li>1</li><li>2.5</li></ul>"
    assert el("td") == "<td></td>"


def test_tables_and_addresses_take_any_data():
    made = table("t", ("name", "#n"), [(EVIL, [EVIL, EVIL])])
    assert "<script" not in made
    assert made.count("&lt;script&gt;") == 3
    assert url("/x", part="a&b=<", page="") == "/x?part=a%26b%3D%3C"
    assert collection_path("d/b", "n?<") == "/collections/d%2Fb/n%3F%3C"
