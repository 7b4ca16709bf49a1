"""The configuration's reference page says what the code says."""

from pathlib import Path

from mishards.server.reference import configuration_page

PAGE = Path(__file__).resolve().parents[3] / "docs" / "configuration.md"


def test_the_page_equals_the_code():
    made = configuration_page()
    assert PAGE.read_text() == made, "run: mishards config reference > docs/configuration.md"


def test_every_section_and_key_has_words():
    page = configuration_page()
    for section in ("cluster", "node", "proxy", "writer", "reader", "http"):
        assert f"## `[{section}]`" in page
    assert "| `port` | `19530` | `MISHARDS_PROXY_PORT` |" in page
