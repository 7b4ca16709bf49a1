"""The page about the doctor lists the checks that there are."""

from pathlib import Path

from mishards.doctor.reference import check_table
from mishards.doctor.run import all_checks

PAGE = Path(__file__).resolve().parents[3] / "docs" / "doctor.md"


def test_the_page_ends_with_all_checks():
    assert PAGE.read_text().endswith(f"## Checks\n\n{check_table()}"), (
        "replace the table at the end of docs/doctor.md by the output of: mishards doctor --list"
    )


def test_every_check_has_a_name_of_its_own_and_asks_something():
    checks = all_checks()
    assert len({check.name for check in checks}) == len(checks)
    for check in checks:
        assert "." in check.name
        assert check.asks.endswith("?")
        assert check.why
        assert not check.why.endswith(".")
