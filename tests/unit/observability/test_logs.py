"""Secrets in records that another program's handlers write."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from mishards.observability.logs import shield

WORD, PASSWORD = "Tr0ub4dor", "c0rrect"
URL = f"mysql://me:{PASSWORD}@host/db"


@pytest.fixture
def package() -> Iterator[logging.Logger]:
    """The package's logger, as it was afterwards."""
    found = logging.getLogger("mishards")
    before = found.handlers[:]
    found.handlers[:] = []
    yield found
    found.handlers[:] = before


def test_messages_arguments_and_traces_are_clean(
    package: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    shield([WORD])
    shield(["another"])
    assert len(package.handlers) == 1
    log = logging.getLogger("mishards.some.module")
    log.warning("cannot reach %s with %s and %s", URL, WORD, "another")
    try:
        raise ValueError(f"refused by {URL}")
    except ValueError:
        log.exception("failed", stack_info=True)
    for secret in (PASSWORD, WORD, "another"):
        assert secret not in caplog.text
    assert "cannot reach mysql://me:***@host/db with *** and ***" in caplog.text
    assert "ValueError: refused by mysql://me:***@host/db" in caplog.text
    assert caplog.records[0].args == ()


def test_others_records_are_left_alone(
    package: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    shield([WORD])
    logging.getLogger("theirs").warning("%s at %s", WORD, URL)
    assert f"{WORD} at {URL}" in caplog.text


def test_a_program_without_handlers_still_sees_warnings(
    package: logging.Logger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    shield()
    log = logging.getLogger("mishards.some.module")
    log.warning("at %s", URL)
    log.info("nobody asked")
    package.addHandler(logging.NullHandler())
    log.warning("not wanted")
    assert capsys.readouterr().err == "at mysql://me:***@host/db\n"
