"""The obstore client for an S3 URL.

Invariants: it repeats nothing by itself, so that how often a request was sent is known here; its
conditional puts are `If-None-Match: *`; it limits the time of the requests of uploads in parts
alone, since a limit that fits any object is the caller's to find.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import S3Store as Client

from mishards.core.errors import ConfigError
from mishards.core.runtime import Runtime
from mishards.storage.s3_credentials import FileCredentials
from mishards.storage.s3_url import S3Url, endpoint_of

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config

_CONNECT_S = 3.0
_NEVER = timedelta(days=1)
_IDLE = timedelta(seconds=20)


def open_client(url: S3Url, runtime: Runtime, request_s: float | None = None) -> Client:
    """A client; connects at the first request. What the URL leaves open comes from `AWS_*`.

    Args:
        request_s: how long one request may take; None for no limit.

    Raises:
        ConfigError: a file that the URL names cannot be used, or a setting cannot.
    """
    endpoint = endpoint_of(url)
    config: S3Config = {
        "conditional_put": "etag",
        "virtual_hosted_style_request": url.style == "host",
    }
    if endpoint:
        config["endpoint"] = _with_bucket(endpoint, url)
    if url.region:
        config["region"] = url.region
    options: ClientConfig = {
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=min(_CONNECT_S, url.timeout_s)),
        "timeout": _NEVER if request_s is None else timedelta(seconds=request_s),
        "pool_idle_timeout": _IDLE,
    }
    if url.ca:
        options["root_certificate"] = _certificates(Path(url.ca))
    keys = url.credentials and FileCredentials(Path(url.credentials), url.profile, runtime)
    try:
        return Client(
            url.bucket,
            prefix=url.prefix or None,
            config=config,
            client_options=options,
            retry_config={"max_retries": 0},
            credential_provider=keys or None,
        )
    except (BaseError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"cannot use {url.name} as storage: {reason}") from error


def _with_bucket(endpoint: str, url: S3Url) -> str:
    if url.style == "path":
        return endpoint
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{url.bucket}.{parts.netloc}"


def _certificates(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the certificates {file}: {error.strerror}") from error
