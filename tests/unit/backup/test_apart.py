"""Places for backups that lie in the data, around it, and elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from mishards.backup.apart import check_apart, folder_of
from mishards.core.errors import ConfigError

AWAY = "?endpoint=http://other:9000"


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ("/srv/data", "/srv/data"),
        ("/srv/data", "file:///srv/data/backups"),
        ("/srv/data", "/srv"),
        ("/srv/data", "/srv/else/../data/"),
        ("s3://bucket/data", "s3://bucket/data/"),
        ("s3://bucket/data", "s3://bucket/data/backups?region=eu-west-1"),
        ("s3://bucket/data", "s3://bucket"),
        ("s3://bucket", "s3://bucket/backups"),
        (f"s3://bucket/data{AWAY}", f"s3://bucket/data{AWAY}/&timeout_s=9"),
        ("carrier://me:word@pigeon/a", "carrier://me:word@pigeon/a/b"),
    ],
)
def test_within_one_another_is_refused(data: str, place: str) -> None:
    with pytest.raises(ConfigError, match="lie in one another") as told:
        check_apart(data, place)
    assert "word" not in str(told.value)


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ("/srv/data", "/srv/data2"),
        ("/srv/data", "/srv/backups"),
        ("/srv/data", "s3://bucket/data"),
        ("s3://bucket/data", "/srv/data"),
        ("s3://bucket/data", "s3://bucket/data2"),
        ("s3://bucket/data", "s3://bucket/backups"),
        ("s3://bucket/data", "s3://backups/data"),
        ("s3://bucket/data", f"s3://bucket/data{AWAY}"),
        ("memory://a", "memory://b"),
    ],
)
def test_elsewhere_is_allowed(data: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    check_apart(data, place)


def test_an_endpoint_of_the_environment_is_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://other:9000")
    with pytest.raises(ConfigError, match="lie in one another"):
        check_apart("s3://bucket/data", f"s3://bucket/data{AWAY}")


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    with pytest.raises(ConfigError, match="lie in one another"):
        check_apart(str(tmp_path / "data"), str(tmp_path / "link" / "backups"))
    assert folder_of("s3://bucket") is None
