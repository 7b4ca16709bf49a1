"""A database as elections and registries use it: tables made at the first call, short waits.

Invariant: whatever the database raises comes out as `Unavailable`, which names what cannot be used
and where, without the password.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from mishards.core.errors import Unavailable
from mishards.core.runtime import Runtime
from mishards.storage.sql_engine import open_engine, schema_transaction

T = TypeVar("T")

_LOCK_WAIT_S = 1.0
_ANSWER_S = 2.0


class SqlAccess:
    """Runs statements off the loop. Coroutines: from the loop's thread."""

    def __init__(self, url: str, runtime: Runtime, table: sa.Table, what: str) -> None:
        """Access that connects at the first call.

        Args:
            table: made, with all of its schema, where it is missing.
            what: the thing that lies there, for errors.

        Raises:
            ConfigError, PluginError: the URL cannot be used.
        """
        self.engine = open_engine(url, lock_wait_s=_LOCK_WAIT_S, answer_s=_ANSWER_S)
        self._runtime = runtime
        self._table = table
        self._what = what
        self._created = False

    async def do(self, work: Callable[..., T], *args: object) -> T:
        """Run `work(*args)`, which uses `engine`.

        Raises:
            Unavailable: the database failed.
        """
        try:
            return await self._runtime.blocking(self._prepared, work, args)
        except SQLAlchemyError as error:
            shown = self.engine.url.render_as_string(hide_password=True)
            cause = getattr(error, "orig", None) or error
            raise Unavailable(f"{self._what} in {shown} cannot be used: {cause}") from error

    async def close(self) -> None:
        await self._runtime.blocking(self.engine.dispose)

    def _prepared(self, work: Callable[..., T], args: tuple[object, ...]) -> T:
        if not self._created:
            if not sa.inspect(self.engine).has_table(self._table.name):
                with schema_transaction(self.engine) as connection:
                    self._table.metadata.create_all(connection)
            self._created = True
        return work(*args)
