"""Which addresses of API processes a reader takes for live ones."""

from __future__ import annotations

from server.cluster.deployments import TOKEN_BYTES, LinkAddress
from server.cluster.link.announcements import LEASE_S, RENEW_S, Announcements, encoded, key_of

ONE, OTHER = (LinkAddress("10.0.0.1", port, bytes(range(2 * TOKEN_BYTES))) for port in (4001, 4002))


def test_the_two_halves_of_a_secret() -> None:
    assert (len(ONE.token), ONE.token + ONE.proof) == (TOKEN_BYTES, ONE.secret)
    assert key_of(ONE) == "10.0.0.1:4001"


def test_what_is_not_renewed_gets_stale_by_the_readers_clock() -> None:
    reader = Announcements()
    found = {key_of(ONE): encoded(ONE, 1), key_of(OTHER): encoded(OTHER, 7)}
    assert reader.live(found, 1000.0) == [ONE, OTHER]
    found[key_of(ONE)] = encoded(ONE, 2)
    assert reader.live(found, 1000.0 + RENEW_S) == [ONE, OTHER]
    late_s = 1000.0 + LEASE_S
    assert reader.live(found, late_s) == [ONE]
    assert reader.stale(late_s) == [key_of(OTHER)]
    found[key_of(OTHER)] = encoded(OTHER, 8)
    assert reader.live(found, late_s + 1.0) == [ONE, OTHER]
    assert reader.stale(late_s + 1.0) == []


def test_what_is_taken_away_or_another_versions_is_not_there() -> None:
    reader = Announcements()
    assert reader.live({"a": b"nonsense", key_of(ONE): encoded(ONE, 1)}, 0.0) == [ONE]
    assert reader.live({}, LEASE_S + 1.0) == []
    assert reader.stale(LEASE_S + 1.0) == []
