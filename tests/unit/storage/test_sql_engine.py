from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from mishards.core.errors import ConfigError, PluginError
from mishards.storage.sql_engine import open_engine, read_transaction, write_transaction


def test_sqlite_is_durable_and_lets_readers_go_on(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/new/folder/file.db")
    try:
        with write_transaction(engine) as writer:
            writer.exec_driver_sql("CREATE TABLE t (a INTEGER)")
        with write_transaction(engine) as writer:
            writer.exec_driver_sql("INSERT INTO t VALUES (1)")
            with read_transaction(engine) as reader:
                assert reader.exec_driver_sql("SELECT count(*) FROM t").scalar() == 0
                assert reader.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
                assert reader.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    finally:
        engine.dispose()


def test_a_read_transaction_sees_one_state(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/file.db")
    try:
        with write_transaction(engine) as writer:
            writer.exec_driver_sql("CREATE TABLE t (a INTEGER)")
        with read_transaction(engine) as reader:
            assert reader.exec_driver_sql("SELECT count(*) FROM t").scalar() == 0
            with write_transaction(engine) as writer:
                writer.exec_driver_sql("INSERT INTO t VALUES (1)")
            assert reader.exec_driver_sql("SELECT count(*) FROM t").scalar() == 0
    finally:
        engine.dispose()


def test_an_error_rolls_back(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/file.db")

    def write(*statements: str) -> None:
        with write_transaction(engine) as writer:
            for statement in statements:
                writer.exec_driver_sql(statement)

    try:
        with pytest.raises(sa.exc.OperationalError, match="nowhere"):
            write("CREATE TABLE t (a INTEGER)", "INSERT INTO nowhere VALUES (1)")
        with read_transaction(engine) as reader:
            assert sa.inspect(reader).get_table_names() == []
    finally:
        engine.dispose()


@pytest.mark.parametrize(
    "url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "sqlite://host/a"]
)
def test_a_url_that_names_no_database_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="invalid database URL"):
        open_engine(url)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="file/below"):
        open_engine(f"sqlite:///{tmp_path}/file/below/a.db")


def test_a_missing_driver_is_an_error_without_the_password() -> None:
    with pytest.raises(PluginError, match="no driver") as caught:
        open_engine("oracle+nothing://user:secret@host/db")
    assert "secret" not in caught.value.message


def test_a_replaced_file_is_opened_anew(tmp_path: Path) -> None:
    engines = [open_engine(f"sqlite:///{tmp_path}/{name}.db") for name in ("old", "new")]
    try:
        for engine, name in zip(engines, ("old", "new"), strict=True):
            with write_transaction(engine) as writer:
                writer.exec_driver_sql(f"CREATE TABLE {name} (a INTEGER)")
            assert tables(engine) == [name]
        engines[1].dispose()
        for leftover in tmp_path.glob("old.db-*"):  # SQLite would lay them over any file
            leftover.unlink()
        (tmp_path / "new.db").replace(tmp_path / "old.db")
        assert tables(engines[0]) == ["new"]
    finally:
        for engine in engines:
            engine.dispose()


def test_a_removed_file_is_not_made_anew(tmp_path: Path) -> None:
    file, away = tmp_path / "file.db", tmp_path / "away.db"
    engine = open_engine(f"sqlite:///{file}")
    try:
        with write_transaction(engine) as writer:
            writer.exec_driver_sql("CREATE TABLE t (a INTEGER)")
            writer.exec_driver_sql("INSERT INTO t VALUES (1)")
        engine.dispose()
        file.rename(away)
        for _ in range(2):
            with pytest.raises(sa.exc.OperationalError, match=r"file\.db is gone"):
                tables(engine)
        assert not file.exists()
        away.rename(file)
        assert tables(engine) == ["t"]
    finally:
        engine.dispose()


def tables(engine: sa.Engine) -> list[str]:
    with read_transaction(engine) as reader:
        return sa.inspect(reader).get_table_names()
