import msgspec
import pytest

from mishards.core.errors import ProtocolError
from mishards.rpc.handshake import VERSION, Credentials, Handshake, Hello, read_hello


def _meet(server: Handshake, client: Handshake) -> None:
    client.confirm(server.accept(client.answer(server.challenge())))


@pytest.mark.parametrize("secret", [b"", b"s", b"s" * 1000])
def test_equal_secrets_meet(secret: bytes) -> None:
    _meet(Handshake(Credentials(secret)), Handshake(Credentials(secret)))


@pytest.mark.parametrize(("one", "other"), [(b"", b"a"), (b"a", b""), (b"a", b"b")])
def test_other_secrets_do_not(one: bytes, other: bytes) -> None:
    with pytest.raises(ProtocolError, match="wrong shared secret"):
        _meet(Handshake(Credentials(one)), Handshake(Credentials(other)))


def test_a_recorded_answer_is_of_no_use_on_another_connection() -> None:
    server, client = Handshake(Credentials(b"s")), Handshake(Credentials(b"s"))
    answer = client.answer(server.challenge())
    server.accept(answer)
    with pytest.raises(ProtocolError, match="wrong shared secret"):
        Handshake(Credentials(b"s")).accept(answer)


def test_a_server_that_mirrors_the_client_is_found_out() -> None:
    client = Handshake(Credentials(b"s"))
    answer = client.answer(Handshake(Credentials(b"")).challenge())
    with pytest.raises(ProtocolError, match="wrong shared secret"):
        client.confirm(Hello(proof=answer.proof))


def test_versions_without_overlap_are_named() -> None:
    challenge = Handshake(Credentials(b"")).challenge()
    newer = msgspec.structs.replace(challenge, oldest=VERSION + 1, newest=VERSION + 3)
    with pytest.raises(ProtocolError, match=rf"{VERSION + 1} to {VERSION + 3}.*to {VERSION}"):
        Handshake(Credentials(b"")).answer(newer)
    Handshake(Credentials(b"")).answer(msgspec.structs.replace(challenge, newest=VERSION + 3))


def test_another_protocol_is_named() -> None:
    with pytest.raises(ProtocolError, match="'ftp'"):
        Handshake(Credentials(b"")).answer(Hello(magic="ftp"))
    with pytest.raises(ProtocolError, match="not a greeting"):
        read_hello(memoryview(b"HTTP/1.1"))


def test_a_peer_of_another_cluster_is_refused_and_both_are_named() -> None:
    one, other = Credentials(b"s", "one"), Credentials(b"s", "other")
    with pytest.raises(ProtocolError, match="cluster 'one', this node to 'other'"):
        _meet(Handshake(one), Handshake(other))
    answer = Handshake(Credentials(b"s", "")).answer(Handshake(other).challenge())
    with pytest.raises(ProtocolError, match="cluster 'one', this node to 'other'"):
        Handshake(other).accept(msgspec.structs.replace(answer, cluster="one"))


def test_a_peer_that_names_no_cluster_may_stay() -> None:
    _meet(Handshake(Credentials(b"s", "one")), Handshake(Credentials(b"s")))
    _meet(Handshake(Credentials(b"s")), Handshake(Credentials(b"s", "one")))
