"""A gRPC health check as the bytes of one HTTP/2 connection, for balancers that speak no gRPC.

Invariant: every frame is complete in itself and uses no dynamic header table, so any HTTP/2 server
takes it. Sources: RFC 9113, RFC 7541 appendix A, and
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END_STREAM, _END_HEADERS = 1, 4
_POST, _SCHEME_HTTP = b"\x83", b"\x86"
_AUTHORITY, _PATH, _CONTENT_TYPE = b"\x01", b"\x04", b"\x0f\x10"
_NEW_NAME = b"\x00"

SERVING = b"\x00\x00\x00\x00\x02\x08\x01"
"""The gRPC message that stands in the answer of a server that serves."""


def check_request() -> bytes:
    """What a client sends to ask for the health of the server as a whole."""
    headers = b"".join(
        [
            _POST,
            _SCHEME_HTTP,
            _PATH + _text(b"/grpc.health.v1.Health/Check"),
            _AUTHORITY + _text(b"mishards"),
            _CONTENT_TYPE + _text(b"application/grpc"),
            _NEW_NAME + _text(b"te") + _text(b"trailers"),
        ]
    )
    empty_message = bytes(5)
    return b"".join(
        [
            _PREFACE,
            _frame(_SETTINGS, 0, 0, b""),
            _frame(_HEADERS, _END_HEADERS, 1, headers),
            _frame(_DATA, _END_STREAM, 1, empty_message),
        ]
    )


def _text(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body
