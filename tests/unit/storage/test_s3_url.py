from __future__ import annotations

import pytest

from mishards.core.errors import ConfigError
from mishards.storage.s3_url import S3Url, parse_s3_url


def test_bucket_and_prefix_are_read() -> None:
    assert parse_s3_url("s3://a-bucket") == S3Url("a-bucket")
    found = parse_s3_url("s3://a-bucket/lab/one/")
    assert found == S3Url("a-bucket", "lab/one")
    assert found.name == "s3://a-bucket/lab/one"


def test_options_are_read_and_not_shown() -> None:
    found = parse_s3_url(
        "s3://abc/p?endpoint=https://host:9000&region=eu-west-1&style=host&ca=/ca.pem"
        "&credentials=/keys&profile=lab&timeout_s=2.5"
    )
    assert found == S3Url(
        "abc", "p", "https://host:9000", "eu-west-1", "host", "/ca.pem", "/keys", "lab", 2.5
    )
    assert found.name == "s3://abc/p"


@pytest.mark.parametrize("url", ["s3://id:secret@abc/p", "s3://secret@abc"])
def test_keys_are_not_given_in_it(url: str) -> None:
    with pytest.raises(ConfigError, match="AWS_SECRET_ACCESS_KEY") as refused:
        parse_s3_url(url)
    assert "secret@" not in refused.value.message
    assert "id:" not in refused.value.message


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("s3://", "no name of a bucket"),
        ("s3:///p", "no name of a bucket"),
        ("s3://A_B/p", "'A_B'"),
        ("s3://abc/../p", "invalid object key"),
        ("s3://abc?endpoint=host:9000", "'host:9000' is not http://host"),
        ("s3://abc?endpoint=http://u@host", "is not http://host"),
        ("s3://abc?style=both", "'both' is neither of: path, host"),
        ("s3://abc?timeout_s=0", "timeout_s 0"),
        ("s3://abc?timeout_s=soon", "timeout_s"),
        ("s3://abc?secret=x", "unknown parameter 'secret'; known are: endpoint, region"),
        ("http://abc", "expected s3://"),
    ],
)
def test_what_is_wrong_is_named(url: str, reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_s3_url(url)
    assert reason in refused.value.message
