"""What must not be read by accident, is not."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mishards.core.config import load
from mishards.core.errors import ConfigError
from mishards.core.secret import ConfidentialUrl, Secret, is_confidential, redact, secrets_in


class Section(msgspec.Struct, frozen=True, kw_only=True):
    word: Secret = Secret()
    place: ConfidentialUrl = ""
    port: int = 1


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    web: Section = Section()


def test_a_secret_shows_itself_to_nobody() -> None:
    secret = Secret("hush")
    assert f"{secret} {secret!r} {[secret]} {Section(word=secret)}".count("hush") == 0
    assert secret.reveal() == "hush"
    assert secret == Secret("hush") != Secret("other")
    assert not Secret()
    with pytest.raises(TypeError):
        msgspec.json.encode(secret)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mysql://me:hush@host/db", "mysql://me:***@host/db"),
        ("cannot use 'etcd://me:hu/s@h@a:1,b:2/p': no", "cannot use 'etcd://me:***@a:1,b:2/p': no"),
        ("postgresql+psycopg://:hush@h", "postgresql+psycopg://:***@h"),
        ("me:hush@host/db", "me:***@host/db"),
        ("x://h/p?a=1&api_token=hush&b=2", "x://h/p?a=1&api_token=***&b=2"),
        ("x://h?sslpassword=hush", "x://h?sslpassword=***"),
        ("the host 'me:hush@host' is none", "the host 'me:***@host' is none"),
        ("http://host:8080/path", "http://host:8080/path"),
        ('["reader@tcp://h:1", "writer@tcp://h:2"]', '["reader@tcp://h:1", "writer@tcp://h:2"]'),
        ("mishards: a mail to me@host", "mishards: a mail to me@host"),
    ],
)
def test_redacted(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_given_values_are_hidden_wherever_they_stand() -> None:
    assert redact("a hush b", ["hush"]) == "a *** b"


def test_secrets_of_a_configuration_are_found_and_short_ones_are_not_looked_for() -> None:
    web = Section(word=Secret("long word"), place="mysql://me:p%40ssword@h/d")
    assert secrets_in(Whole(web=web)) == ("p%40ssword", "long word", "p@ssword")
    assert secrets_in(Whole(web=Section(word=Secret("abc")))) == ()


def test_which_settings_are_confidential() -> None:
    kinds = {field.name: field.type for field in msgspec.structs.fields(Section)}
    assert [name for name, kind in kinds.items() if is_confidential(kind)] == ["word", "place"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "word"
    path.touch(mode=0o600)
    path.write_text(" hush \r\n")
    return path


def test_a_file_gives_the_value_without_its_newline(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    toml = tmp_path / "c.toml"
    toml.write_text(f'[web]\nplace = "a://b"\nword_file = "{file}"\n')
    place = tmp_path / "place"
    place.touch(mode=0o640)
    place.write_text("mysql://u:hush@h/d")
    loaded = load(Whole, file=toml, environ={"MISHARDS_WEB_PLACE_FILE": str(place)})
    assert loaded.config.web.word.reveal() == " hush "
    assert loaded.config.web.place == "mysql://u:hush@h/d"
    assert loaded.origins["web.word"] == f"file {toml}, web.word_file {file}"
    assert loaded.origins["web.place"] == f"environment, web.place_file {place}"
    assert not caplog.records


def test_the_stronger_source_wins_whichever_way_it_says_it(file: Path) -> None:
    environ = {"MISHARDS_WEB_WORD_FILE": str(file)}
    loaded = load(Whole, environ=environ, options={"web.word": "other"})
    assert loaded.config.web.word == Secret("other")
    loaded = load(
        Whole, environ={"MISHARDS_WEB_WORD": "other"}, options={"web.word_file": str(file)}
    )
    assert loaded.config.web.word == Secret(" hush ")


def test_a_file_for_all_to_read_is_a_warning(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.chmod(0o604)
    load(Whole, options={"web.word_file": str(file)})
    assert f"web.word: the file {str(file)!r} can be read by all" in caplog.text
    assert "hush" not in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read web.word from"),
        (b"\n", "is empty"),
        (b"\xff\xfe", "no UTF-8"),
        (b"h" * 65_537, "larger than 65536 bytes"),
    ],
)
def test_a_file_of_no_use_is_named(file: Path, content: bytes | None, message: str) -> None:
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load(Whole, options={"web.word_file": str(file)})
    assert str(file) in caught.value.message


def test_refusals_do_not_show_the_value(file: Path, tmp_path: Path) -> None:
    toml = tmp_path / "c.toml"
    toml.write_text("[web]\nword = 123456\n")
    both = {"web.word": "hush", "web.word_file": str(file)}
    for arguments in ({"file": toml}, {"options": both}, {"options": {"web.place": ["hush"]}}):
        with pytest.raises(ConfigError, match="web") as caught:
            load(Whole, **arguments)  # type: ignore[arg-type]
        assert "hush" not in caught.value.message
        assert "123456" not in caught.value.message


def test_only_confidential_settings_have_a_file() -> None:
    with pytest.raises(ConfigError, match=r"unknown configuration key 'web\.port_file'"):
        load(Whole, options={"web.port_file": "/x"})
