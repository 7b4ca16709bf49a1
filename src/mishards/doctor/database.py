"""The metadata database: is it reached, is it of this release, is it as new as its journal, how
quick is it, and what does its clock say?

Invariant: it is only read. A database of an older release is not brought up to date by a look.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from mishards.core.errors import ConfigError, MetadataBehind, MetadataUnavailable
from mishards.core.runtime import Runtime
from mishards.core.secret import redact
from mishards.doctor.findings import Check, Finding, Trouble
from mishards.doctor.words import duration
from mishards.metadata.journaled import JournaledMetadata
from mishards.metadata.protocol import MetadataStore
from mishards.metadata.registry import BUILTIN
from mishards.metadata.sql_schema import SCHEMA_VERSION, state
from mishards.server.config import Config
from mishards.storage.protocol import ObjectStore
from mishards.storage.sql_engine import open_engine, read_transaction

REACHED = Check(
    "database.reached",
    "Does the metadata database answer?",
    "without it searches and writes go on, but DDL, flushes and the takeover of a lost leader wait",
)
SCHEMA = Check(
    "database.schema",
    "Are its tables those of this release?",
    "a node refuses a database of a newer release, and changes that of an older one at its start",
)
JOURNAL = Check(
    "database.journal",
    "Does it have all commits that are on shared storage?",
    "a database that lost commits is refused by every node that starts",
)
LATENCY = Check(
    "database.latency",
    "How long does a read of it take?",
    "every DDL, flush and heartbeat waits for it",
)
CHECKS = (REACHED, SCHEMA, JOURNAL, LATENCY)

_READS = 5
_SLOW_S, _VERY_SLOW_S = 0.25, 2.0
_CLOCKS = {
    "mysql": "SELECT UNIX_TIMESTAMP(NOW(3))",
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
}


class DatabaseFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What was read.

    Attributes:
        where: its URL, without a password.
        schema: version of its tables; None where it has no such number, 0 where it has no tables.
        behind: what the journal has that the database has not; empty for nothing.
        clock_offset_ms: its clock less this machine's; None where it is this machine's, or is not
            told.
    """

    where: str
    version: int = 0
    cluster: str = ""
    schema: int | None = None
    reads_s: tuple[float, ...] = ()
    behind: str = ""
    clock_offset_ms: float | None = None


def sqlite_file(url: str) -> Path | None:
    """The file of a database in SQLite; None for any other."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        return None
    is_sqlite = parsed.drivername.partition("+")[0] == "sqlite"
    return Path(parsed.database) if is_sqlite and parsed.database else None


def require_database(config: Config) -> None:
    """Make no database by looking.

    Raises:
        ConfigError: metadata is in a file of SQLite, and there is no such file.
    """
    path = sqlite_file(config.metadata_url)
    if path is not None and not path.is_file():
        raise ConfigError(f"there is no database at {str(path)!r}")


async def look_at_database(
    url: str, metadata: MetadataStore | Trouble, store: ObjectStore | Trouble, runtime: Runtime
) -> DatabaseFacts:
    """Read what there is.

    Raises:
        ConfigError, PluginError: it cannot be opened as named.
        MetadataUnavailable: it cannot be read.
    """
    if isinstance(metadata, Trouble):
        raise MetadataUnavailable(metadata.message)
    facts = DatabaseFacts(where=redact(url))
    if ".sql:" in BUILTIN.get(url.partition("://")[0].partition("+")[0], ""):
        facts = await runtime.blocking(_read_sql, url, runtime)
        if not facts.schema:
            return facts
    reads = []
    for _ in range(_READS):
        began_s = runtime.monotonic_s()
        version = await metadata.version()
        reads.append(runtime.monotonic_s() - began_s)
    behind = ""
    if not isinstance(store, Trouble):
        try:
            await JournaledMetadata(metadata, store, runtime).compare()
        except MetadataBehind as error:
            behind = error.message
    return msgspec.structs.replace(facts, version=version, reads_s=tuple(reads), behind=behind)


def _read_sql(url: str, runtime: Runtime) -> DatabaseFacts:
    engine = open_engine(url)
    where = engine.url.render_as_string(hide_password=True)
    try:
        return _read_state(engine, where, runtime)
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise MetadataUnavailable(f"{where} cannot be read: {cause}") from error
    finally:
        engine.dispose()


def _read_state(engine: Engine, where: str, runtime: Runtime) -> DatabaseFacts:
    if not sa.inspect(engine).has_table(state.name):
        return DatabaseFacts(where=where, schema=0)
    columns = (state.c.cluster_id, state.c.schema_version)
    with read_transaction(engine) as connection:
        row = connection.execute(sa.select(*columns)).one_or_none()
        offset_ms = None
        if (statement := _CLOCKS.get(engine.dialect.name)) is not None:
            before_ms = runtime.now_ms()
            told_s = float(connection.exec_driver_sql(statement).scalar_one())
            offset_ms = told_s * 1000 - (before_ms + runtime.now_ms()) / 2
    if row is None:
        return DatabaseFacts(where=where, schema=0)
    return DatabaseFacts(where=where, cluster=row[0], schema=row[1], clock_offset_ms=offset_ms)


def judge_database(facts: DatabaseFacts | Trouble) -> Iterator[Finding]:
    """What follows from what was read."""
    if isinstance(facts, Trouble):
        yield REACHED.failure(
            facts.message,
            "start the database, or correct cluster.metadata; nodes go on by themselves once it "
            "answers",
        )
        return
    if facts.schema == 0:
        yield SCHEMA.failure(
            f"{facts.where} has no tables of Mishards: no writer has begun this cluster, or it is "
            "another database",
            "start a writer, or correct cluster.metadata; for a database that was lost: "
            "mishards repair",
        )
        return
    yield REACHED.ok(f"{facts.where} answers; metadata version {facts.version}")
    yield _schema(facts)
    if facts.behind:
        yield JOURNAL.failure(facts.behind, "stop all writers, then: mishards repair")
    else:
        yield JOURNAL.ok("it has all commits that shared storage knows of")
    took_s = median(facts.reads_s)
    told = f"a read takes {duration(took_s)}"
    if took_s > _VERY_SLOW_S:
        yield LATENCY.warning(
            told, "look at the database's own load, and at the network to it; move it closer"
        )
    elif took_s > _SLOW_S:
        yield LATENCY.note(told)
    else:
        yield LATENCY.ok(told)


def _schema(facts: DatabaseFacts) -> Finding:
    if facts.schema is None or facts.schema == SCHEMA_VERSION:
        return SCHEMA.ok("its records can be read by this release")
    if facts.schema > SCHEMA_VERSION:
        return SCHEMA.failure(
            f"schema version {facts.schema} of a newer release; this one knows {SCHEMA_VERSION}",
            "install the release that the nodes run",
        )
    return SCHEMA.note(
        f"schema version {facts.schema}; this release brings it to {SCHEMA_VERSION} at its first "
        "start"
    )
