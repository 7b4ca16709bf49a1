import msgspec
import pytest

from mishards.core.errors import ProtocolError
from mishards.rpc.handshake import VERSION, Handshake, Hello, read_hello


def _meet(server: Handshake, client: Handshake) -> None:
    client.confirm(server.accept(client.answer(server.challenge())))


@pytest.mark.parametrize("secret", [b"", b"s", b"s" * 1000])
def test_equal_secrets_meet(secret: bytes) -> None:
    _meet(Handshake(secret), Handshake(secret))


@pytest.mark.parametrize(("one", "other"), [(b"", b"a"), (b"a", b""), (b"a", b"b")])
def test_other_secrets_do_not(one: bytes, other: bytes) -> None:
    with pytest.raises(ProtocolError, match="wrong shared secret"):
        _meet(Handshake(one), Handshake(other))


def test_a_recorded_answer_is_of_no_use_on_another_connection() -> None:
    server, client = Handshake(b"s"), Handshake(b"s")
    answer = client.answer(server.challenge())
    server.accept(answer)
    with pytest.raises(ProtocolError, match="wrong shared secret"):
        Handshake(b"s").accept(answer)


def test_a_server_that_mirrors_the_client_is_found_out() -> None:
    client = Handshake(b"s")
    answer = client.answer(Handshake(b"").challenge())
    with pytest.raises(ProtocolError, match="wrong shared secret"):
        client.confirm(Hello(proof=answer.proof))


def test_versions_without_overlap_are_named() -> None:
    challenge = Handshake(b"").challenge()
    newer = msgspec.structs.replace(challenge, oldest=VERSION + 1, newest=VERSION + 3)
    with pytest.raises(ProtocolError, match=rf"{VERSION + 1} to {VERSION + 3}.*to {VERSION}"):
        Handshake(b"").answer(newer)
    Handshake(b"").answer(msgspec.structs.replace(challenge, newest=VERSION + 3))


def test_another_protocol_is_named() -> None:
    with pytest.raises(ProtocolError, match="'ftp'"):
        Handshake(b"").answer(Hello(magic="ftp"))
    with pytest.raises(ProtocolError, match="not a greeting"):
        read_hello(memoryview(b"HTTP/1.1"))
