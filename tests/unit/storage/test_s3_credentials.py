from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mishards.core.errors import ConfigError
from mishards.core.runtime import SystemRuntime
from mishards.storage.s3_credentials import FileCredentials

KEYS = "[default]\naws_access_key_id = id1\naws_secret_access_key = se%cret\n"


class Clock(SystemRuntime):
    """A wall clock that stands still."""

    def now_ms(self) -> int:
        return 60_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "credentials"
    found.write_text(KEYS)
    return found


def test_keys_are_read_and_soon_read_again(file: Path) -> None:
    credentials = FileCredentials(file, "default", Clock())
    assert credentials() == {
        "access_key_id": "id1",
        "secret_access_key": "se%cret",
        "token": None,
        "expires_at": datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=2),
    }
    file.write_text(KEYS.replace("id1", "id2") + "aws_session_token = t\n")
    again = credentials()
    assert (again["access_key_id"], again["token"]) == ("id2", "t")


def test_while_the_file_cannot_be_read_the_last_keys_are_used(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    credentials = FileCredentials(file, "default", Clock())
    for spoilt in ("no INI: se%cret", "[default]\naws_secret_access_key = se%cret\n"):
        file.write_text(spoilt)
        assert credentials()["access_key_id"] == "id1"
    file.unlink()
    assert credentials()["access_key_id"] == "id1"
    assert "stay in use" in caplog.text
    assert "se%cret" not in caplog.text


@pytest.mark.parametrize(
    ("text", "profile", "reason"),
    [
        (KEYS, "lab", "[lab]"),
        ("[default]\naws_access_key_id = id1\n", "default", "aws_secret_access_key"),
        ("secret", "default", "no INI file"),
        (None, "default", "No such file"),
    ],
)
def test_what_is_missing_is_named(file: Path, text: str | None, profile: str, reason: str) -> None:
    file.unlink() if text is None else file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        FileCredentials(file, profile, Clock())
    assert reason in refused.value.message
    assert str(file) in refused.value.message
