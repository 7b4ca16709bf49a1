"""Sessions: signed with the token, bound in time, and forms bound to them."""

from mishards.api.http.console.sessions import LIFE_S, Sessions
from mishards.core.secret import Secret


class Clock:
    def __init__(self) -> None:
        self.ms = 1_000_000

    def __call__(self) -> int:
        return self.ms


CLOCK = Clock()
SESSIONS = Sessions(Secret("correct horse"), CLOCK)


def test_a_session_is_good_at_every_proxy_with_the_token_and_at_no_other():
    session = SESSIONS.begin()
    assert SESSIONS.good(session)
    assert Sessions(Secret("correct horse"), CLOCK).good(session)
    assert not Sessions(Secret("another"), CLOCK).good(session)
    assert SESSIONS.begin() != session


def test_a_session_ends_and_cannot_be_made_longer():
    clock = Clock()
    sessions = Sessions(Secret("correct horse"), clock)
    session = sessions.begin()
    end, rest = session.split(".", 1)
    assert not sessions.good(f"{int(end) + 1}.{rest}")
    clock.ms += 1000 * LIFE_S - 1
    assert sessions.good(session)
    clock.ms += 1
    assert not sessions.good(session)


def test_what_is_no_session_is_not_good():
    for text in ("", ".", "..", "a.b.c", "é.ü.ö", "9999999999.00", SESSIONS.begin()[:-1]):
        assert not SESSIONS.good(text)


def test_without_a_token_no_session_is_good():
    none = Sessions(Secret(), CLOCK)
    assert not none.good(none.begin())


def test_a_proof_is_of_one_session_and_is_no_session():
    one, other = SESSIONS.begin(), SESSIONS.begin()
    assert SESSIONS.proves(one, SESSIONS.proof(one))
    assert not SESSIONS.proves(one, SESSIONS.proof(other))
    assert not SESSIONS.proves(one, "")
    assert SESSIONS.proof(one) != one.rpartition(".")[2]
