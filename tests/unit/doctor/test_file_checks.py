"""What the doctor says of certificates and secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from mishards.doctor.certificates import PairFacts, judge_certificates, look_at_certificates
from mishards.doctor.findings import Level
from mishards.doctor.secrets import SecretFile, judge_secrets, look_at_secret_files
from mishards.server.config import Config, load_config
from mishards.testing.certificates import Authority
from mishards.testing.doctored import found, levels, node
from mishards.tls.files import TlsFiles

DAY = 86400.0
FILES = TlsFiles(certificate="c.pem", key="k.pem")


def config(**settings: str) -> Config:
    options = {key.replace("__", "."): value for key, value in settings.items()}
    return load_config(options=options, environ={}).config


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, {}),
        ({"problem": "not a pair"}, {"certificates.usable": Level.FAILURE}),
        ({"ends_s": {"c.pem": 60 * DAY}}, {}),
        ({"ends_s": {"c.pem": 20 * DAY}}, {"certificates.expiry": Level.WARNING}),
        ({"ends_s": {"c.pem": 60 * DAY, "a": 2 * DAY}}, {"certificates.expiry": Level.FAILURE}),
        ({"ends_s": {"c.pem": -DAY}}, {"certificates.expiry": Level.FAILURE}),
        ({"names": ("db.example",)}, {"certificates.names": Level.WARNING}),
        ({"names": ("localhost", "127.0.0.1")}, {}),
        ({"key_mode": 0o600}, {}),
        ({"key_mode": 0o640}, {}),
        ({"key_mode": 0o644}, {"certificates.keys": Level.WARNING}),
    ],
)
def test_certificates(facts: dict[str, object], expected: dict[str, Level]) -> None:
    pair = PairFacts(section="proxy", files=FILES, **facts)  # type: ignore[arg-type]
    assert levels(judge_certificates((pair,), Config(), 0.0)) == expected


def test_names_with_a_star_and_every_address() -> None:
    pair = PairFacts(section="proxy", files=FILES, names=("*.example.org",))
    for host, well in (("a.example.org", True), ("a.b.example.org", False), ("0.0.0.0", True)):
        told = levels(judge_certificates((pair,), config(proxy__host=host), 0.0))
        assert told == ({} if well else {"certificates.names": Level.WARNING})


def test_what_certificates_say_is_read(tmp_path: Path) -> None:
    files = Authority(tmp_path).issue("node", "one.example", "127.0.0.1")
    (pair,) = look_at_certificates(
        config(
            cluster__tls_certificate=files.certificate,
            cluster__tls_key=files.key,
            cluster__tls_ca=files.ca,
        )
    )
    assert pair.problem == ""
    assert set(pair.names) == {"one.example", "127.0.0.1"}
    assert set(pair.ends_s) == {files.certificate, files.ca}
    assert pair.key_mode == 0o600
    assert look_at_certificates(Config()) == ()


def test_a_key_that_is_not_named_or_of_another_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, other = authority.issue("one"), authority.issue("other")
    (pair,) = look_at_certificates(config(proxy__tls_certificate=one.certificate))
    assert pair.problem == "proxy.tls_key is not set"
    (pair,) = look_at_certificates(
        config(proxy__tls_certificate=one.certificate, proxy__tls_key=other.key)
    )
    assert "does not belong" in pair.problem


# --- secrets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {}),
        ({"node__listen": "tcp://0.0.0.0:7000"}, {"secrets.cluster": Level.WARNING}),
        ({"node__listen": "tcp://0.0.0.0:7000", "cluster__tls_certificate": "c"}, {}),
        ({"node__listen": "tcp://0.0.0.0:7000", "cluster__secret": "x" * 32}, {}),
        ({"cluster__secret": "short"}, {"secrets.strength": Level.WARNING}),
        ({"http__token": "changeme"}, {"secrets.strength": Level.WARNING}),
        ({"cluster__metadata": "mysql://u@db/x"}, {"secrets.database": Level.NOTE}),
        ({"cluster__metadata": "mysql://u:pw@db/x"}, {}),
        ({"cluster__metadata": "mysql://u@127.0.0.1/x"}, {}),
    ],
)
def test_secrets(settings: dict[str, str], expected: dict[str, Level]) -> None:
    assert levels(judge_secrets(config(**settings), (), ())) == expected


def test_nodes_that_others_reach_without_a_secret() -> None:
    assert levels(judge_secrets(Config(), (), (node("r", address="tcp://10.0.0.2:7"),))) == {
        "secrets.cluster": Level.WARNING
    }


def test_files_that_hold_secrets_are_found_and_no_secret_is_shown(tmp_path: Path) -> None:
    secret, file = tmp_path / "secret", tmp_path / "mishards.toml"
    secret.write_text("hush-hush-hush-hush-hush")
    secret.chmod(0o600)
    file.write_text(
        f"[cluster]\nsecret_file = '{secret}'\nmetadata = 'mysql://u:tell-nobody@db/x'\n"
        "election = 'etcd://e:1/x'\n"
    )
    file.chmod(0o644)
    loaded = load_config(file, environ={})
    files = look_at_secret_files(loaded.config, loaded.origins, file)
    assert files == (
        SecretFile(path=str(file), mode=0o644, holds=("cluster.metadata",)),
        SecretFile(path=str(secret), mode=0o600, holds=("cluster.secret",)),
    )
    told = found(judge_secrets(loaded.config, files, ()))
    assert told["secrets.files"][0] is Level.WARNING
    assert str(file) in told["secrets.files"][1]
    assert "hush" not in str(told)
    assert "tell-nobody" not in str(told)
