"""What an S3 URL says: `s3://bucket[/prefix][?endpoint=…&region=…&…]`.

Invariant: a URL holds no secret. Keys come from the environment or a file, so that what shows a
URL (a configuration, a log, an error) shows none.
"""

from __future__ import annotations

import os
import re
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from mishards.core.errors import ConfigError
from mishards.core.secret import redact
from mishards.storage.keys import check_key

TIMEOUT_S = 3.0
_OPTIONS = ("endpoint", "region", "style", "ca", "credentials", "profile", "timeout_s")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_STYLES = ("path", "host")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]\Z")


class S3Url(msgspec.Struct, frozen=True):
    """Where a data set lies in an S3-compatible store, and how it is reached.

    Attributes:
        bucket: which has to exist.
        prefix: what all keys begin with, without a slash at its ends; empty for none.
        endpoint: `http://host:port` or `https://host:port` of the store; empty for
            `AWS_ENDPOINT_URL`, or Amazon's of the region.
        region: empty for `AWS_REGION`, or us-east-1.
        style: where the bucket stands in requests: `path` or `host`.
        ca: file of further certificates that the server is checked by.
        credentials: file with keys, as the AWS command line has it; empty for the environment.
        profile: the section of that file.
        timeout_s: how long the store may say nothing to a request.
    """

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = ""
    style: str = "path"
    ca: str = ""
    credentials: str = ""
    profile: str = "default"
    timeout_s: float = TIMEOUT_S

    @property
    def name(self) -> str:
        """The URL as messages show it: bucket and prefix."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


def parse_s3_url(url: str) -> S3Url:
    """The parts of `url`.

    Raises:
        ConfigError: it is none, or holds an account; names what is wrong and what is allowed.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ConfigError(
            f"invalid S3 URL 's3://…@{parts.netloc.rpartition('@')[2]}': keys are not given in "
            "it, but by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or credentials=file"
        )
    if parts.scheme != "s3":
        raise _invalid(url, f"expected s3://, not {parts.scheme}://")
    if not _BUCKET.match(parts.netloc):
        raise _invalid(url, f"{parts.netloc!r} is no name of a bucket")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(options.keys() - set(_OPTIONS)):
        raise _invalid(url, f"unknown parameter {unknown[0]!r}; known are: {', '.join(_OPTIONS)}")
    prefix = unquote(parts.path).strip("/")
    if prefix:
        check_key(prefix)
    values = {**options, "bucket": parts.netloc, "prefix": prefix}
    try:
        found = msgspec.convert(values, S3Url, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid(url, str(error)) from error
    if found.endpoint and not _is_endpoint(found.endpoint):
        raise _invalid(url, f"endpoint {found.endpoint!r} is not http://host or https://host")
    if found.style not in _STYLES:
        raise _invalid(url, f"style {found.style!r} is neither of: {', '.join(_STYLES)}")
    if found.timeout_s <= 0:
        raise _invalid(url, f"timeout_s {found.timeout_s:g} is not above 0")
    return found


def endpoint_of(url: S3Url) -> str:
    """The endpoint that is used: that of the URL or the environment; empty for Amazon's."""
    return url.endpoint or next(filter(None, map(os.environ.get, _ENDPOINTS)), "")


def _is_endpoint(text: str) -> bool:
    parts = urlsplit(text)
    plain = not parts.query and not parts.path.strip("/") and not parts.username
    return parts.scheme in ("http", "https") and bool(parts.hostname) and plain


def _invalid(url: str, reason: str) -> ConfigError:
    return ConfigError(f"invalid S3 URL {redact(url.partition('?')[0])!r}: {reason}")
