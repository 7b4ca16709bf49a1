"""Every way in which certificate files are of no use is told with the file's name."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization

from mishards.core.errors import ConfigError
from mishards.testing.certificates import Authority
from mishards.tls.files import TlsFiles, check
from mishards.tls.watched import Watched

DAY = timedelta(days=1)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def refused(files: TlsFiles) -> str:
    with pytest.raises(ConfigError) as caught:
        check(files)
    return caught.value.message


def test_good_files_pass_in_silence(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    check(authority.issue())
    assert not caplog.records


@pytest.mark.parametrize("part", ["certificate", "key", "ca"])
def test_a_missing_file_and_one_that_is_no_pem_are_named(authority: Authority, part: str) -> None:
    files = authority.issue()
    missing = msgspec.structs.replace(files, **{part: "/no/such.pem"})
    assert "'/no/such.pem': No such file" in refused(missing)
    path = getattr(files, part)
    Path(path).write_text("hello")
    assert f"{path!r}" in refused(files)
    assert "PEM" in refused(files)


def test_a_file_that_may_not_be_read_is_named(authority: Authority, tmp_path: Path) -> None:
    files = msgspec.structs.replace(authority.issue(), key=str(tmp_path))
    assert f"cannot read the TLS key {str(tmp_path)!r}" in refused(files)


def test_a_key_of_another_certificate_is_named(authority: Authority) -> None:
    one, other = authority.issue("one"), authority.issue("other")
    message = refused(msgspec.structs.replace(one, key=other.key))
    assert f"the TLS key {other.key!r} does not belong to the certificate" in message


def test_an_encrypted_key_is_named(authority: Authority) -> None:
    files = authority.issue()
    key = serialization.load_pem_private_key(Path(files.key).read_bytes(), None)
    Path(files.key).write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"word"),
        )
    )
    assert "is encrypted" in refused(files)


def test_dates_are_looked_at(authority: Authority) -> None:
    now = datetime.now(UTC)
    assert "expired" in refused(authority.issue("old", not_after=now - DAY))
    assert "not yet valid" in refused(authority.issue("new", not_before=now + DAY))


def test_a_key_for_all_to_read_is_a_warning(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    files = authority.issue()
    Path(files.key).chmod(0o644)
    check(files)
    assert f"{files.key!r} can be read by all" in caplog.text


def test_changed_files_are_loaded_when_they_can_be(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    def load(files: TlsFiles) -> bytes:
        check(files)
        return Path(files.certificate).read_bytes()

    files = authority.issue()
    watched = Watched(files, load)
    first = watched.current
    assert watched.renewed() is None
    Path(files.key).unlink()
    with caplog.at_level(logging.WARNING):
        assert watched.renewed() is None
        assert watched.renewed() is None
    assert len(caplog.records) == 1
    assert watched.current == first
    authority.issue()
    renewed = watched.renewed()
    assert renewed == Path(files.certificate).read_bytes() != first
    assert watched.renewed() is None
