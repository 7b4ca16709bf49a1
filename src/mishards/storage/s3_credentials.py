"""Keys of an S3 store from a file, as the AWS command line writes it.

Invariant: the file is read again every minute, so keys that are changed there are used without a
restart; while it cannot be read, the keys read last are.
"""

from __future__ import annotations

import configparser
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from mishards.core.errors import ConfigError
from mishards.core.runtime import Runtime

if TYPE_CHECKING:
    from obstore.store import S3Credential

_FRESH_FOR = timedelta(minutes=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ID, _SECRET, _TOKEN = "aws_access_key_id", "aws_secret_access_key", "aws_session_token"
_log = logging.getLogger(__name__)


class FileCredentials:
    """Called by obstore, from any thread, whenever it needs keys."""

    def __init__(self, file: Path, profile: str, runtime: Runtime) -> None:
        """Reads the file.

        Raises:
            ConfigError: it cannot be read, or holds no keys of the profile; names both.
        """
        self._file = file
        self._profile = profile
        self._runtime = runtime
        self._last = self._read()

    def __call__(self) -> S3Credential:
        try:
            self._last = self._read()
        except ConfigError as error:
            _log.warning("the keys read last stay in use: %s", error.message)
        key_id, secret, token = self._last
        return {
            "access_key_id": key_id,
            "secret_access_key": secret,
            "token": token,
            "expires_at": _EPOCH + timedelta(milliseconds=self._runtime.now_ms()) + _FRESH_FOR,
        }

    def _read(self) -> tuple[str, str, str | None]:
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read_string(self._file.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(
                f"cannot read the S3 credentials {self._file}: {error.strerror}"
            ) from error
        except (configparser.Error, UnicodeDecodeError):
            # What they say quotes the file.
            raise ConfigError(f"the S3 credentials {self._file} are no INI file") from None
        try:
            section = parser[self._profile]
            return section[_ID], section[_SECRET], section.get(_TOKEN)
        except KeyError as error:
            raise ConfigError(
                f"the S3 credentials {self._file} have no {error.args[0]!r}; needed is a section "
                f"[{self._profile}] with {_ID} and {_SECRET}"
            ) from None
