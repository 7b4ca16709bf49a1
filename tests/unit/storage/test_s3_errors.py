from __future__ import annotations

import pytest
from obstore.exceptions import GenericError, PermissionDeniedError

from mishards.core.errors import DiskFull, ObjectNotFound, StorageError
from mishards.storage.s3_errors import is_refused, storage_error

ANSWERED = (
    "Generic S3 error: Error performing PUT http://h/b/k in 1ms - Server returned non-2xx status "
    "code: {status}: <Error><Code>{code}</Code><Message>words</Message></Error>\n\nDebug source:\n"
    "Generic {{ secrets of the client }}"
)
BROKEN = (
    "Generic S3 error: Error performing PUT http://h/b/k in 1ms - HTTP error: error sending request"
    "\n\nDebug source:\nGeneric {{ inner: Http(HttpError {{ kind: {kind}, source: {source} }}) }}"
)


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (FileNotFoundError(ANSWERED.format(status=404, code="NoSuchKey")), ObjectNotFound, "exist"),
        (FileNotFoundError(ANSWERED.format(status=404, code="NoSuchBucket")), StorageError, "404"),
        (GenericError(ANSWERED.format(status=500, code="InternalError")), StorageError, "words"),
        (GenericError(ANSWERED.format(status=507, code="Whatever")), DiskFull, "507"),
        (GenericError(ANSWERED.format(status=409, code="QuotaExceeded")), DiskFull, "Quota"),
        (PermissionDeniedError(ANSWERED.format(status=403, code="No")), StorageError, "403 No"),
        (TimeoutError("no answer within 3 s"), StorageError, "no answer within 3 s"),
        (
            GenericError(BROKEN.format(kind="Connect", source='Os { message: "refused" }')),
            StorageError,
            "cannot connect: refused",
        ),
        (
            GenericError(
                BROKEN.format(kind="Connect", source="InvalidCertificate(\n UnknownIssuer)")
            ),
            StorageError,
            "cannot connect: UnknownIssuer",
        ),
        (
            GenericError(BROKEN.format(kind="Interrupted", source="IncompleteMessage")),
            StorageError,
            "connection broken: Interrupted",
        ),
        (GenericError("of another make"), StorageError, "of another make"),
    ],
)
def test_an_error_has_its_kind_and_a_short_reason(
    error: Exception, kind: type[Exception], reason: str
) -> None:
    found = storage_error("reading object 'k'", error)
    assert type(found) is kind
    assert "reading object 'k'" in found.message
    assert reason in found.message
    assert "secrets" not in found.message
    assert "\n" not in found.message


def test_only_what_the_store_has_refused_is_certain() -> None:
    assert is_refused(PermissionDeniedError("no"))
    assert is_refused(FileNotFoundError("no bucket"))
    assert not is_refused(GenericError("500"))
    assert not is_refused(TimeoutError("no answer"))
