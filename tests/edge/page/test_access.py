from __future__ import annotations

import socket

from hypothesis import given
from hypothesis import strategies as st

from edge.page.access import (
    ALL_TRIES,
    MAX_CLIENTS,
    SESSION_S,
    TRIES,
    Names,
    Sessions,
    TryLimit,
    foreign_action,
    host_without_port,
    is_loopback,
)
from edge.page.trend import Trend

OWN = {"host": "127.0.0.1:8080", "x-edge-page": "1", "content-type": "application/json"}


def test_a_cookie_is_good_until_it_is_over_or_the_token_is_changed() -> None:
    cookie = Sessions("secret-token").new(1000.0)
    assert Sessions("secret-token").is_good(cookie, 1000.0 + SESSION_S - 1)
    assert not Sessions("secret-token").is_good(cookie, 1000.0 + SESSION_S)
    assert not Sessions("another-token").is_good(cookie, 1000.0)


@given(st.text(max_size=100))
def test_no_text_passes_for_a_cookie_or_the_token(text: str) -> None:
    sessions = Sessions("secret-token")
    assert not sessions.is_good(text, 0.0)
    assert sessions.is_token(text) is (text == "secret-token")


@given(st.integers(0, 60), st.sampled_from("0123456789abcdef."))
def test_a_changed_cookie_is_refused(place: int, digit: str) -> None:
    sessions = Sessions("secret-token")
    cookie = sessions.new(1000.0)
    place = min(place, len(cookie) - 1)
    changed = cookie[:place] + digit + cookie[place + 1 :]
    assert sessions.is_good(changed, 1000.0) is (changed == cookie)


def test_wrong_tokens_are_limited_per_client_and_in_all() -> None:
    limit = TryLimit()
    for n in range(TRIES):
        assert limit.wait_s("a", n) == 0.0
        limit.failed("a", float(n))
    assert 50 < limit.wait_s("a", 5.0) <= 60 and limit.wait_s("b", 5.0) == 0.0
    assert limit.wait_s("a", 61.0) == 0.0, "a minute after the first of them"
    for n in range(ALL_TRIES):
        limit.failed(f"c{n}", 5.0)
    assert limit.wait_s("somebody else", 6.0) > 50
    for n in range(3 * MAX_CLIENTS):
        limit.failed(f"d{n}", 7.0)
    assert len(limit._failed) == MAX_CLIENTS


def test_our_names_are_addresses_localhost_this_machine_and_what_is_configured() -> None:
    names = Names(frozenset({"line4.plant.example"}))
    own = socket.gethostname()
    for good in ("127.0.0.1:8080", "localhost", "[::1]:80", "192.168.1.5", own, "LINE4.plant.example:8080"):
        assert names.are_ours(good), good
    for bad in ("", "evil.example", "127.0.0.1.evil.example:8080", "localhost.evil.example", "[evil]:80"):
        assert not names.are_ours(bad), bad
    assert host_without_port("[::1]:80") == "::1" and is_loopback("::1") and not is_loopback("0.0.0.0")


def test_only_our_own_page_may_change_something() -> None:
    assert foreign_action(OWN) == ""
    assert foreign_action({**OWN, "origin": "http://127.0.0.1:8080", "sec-fetch-site": "same-origin"}) == ""
    for foreign in (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"content-type": "text/plain"},
    ):
        assert foreign_action({**OWN, **foreign})
    assert foreign_action({key: value for key, value in OWN.items() if key != "x-edge-page"})


def test_the_trend_keeps_lowest_and_highest_of_each_second_once() -> None:
    trend = Trend(columns=3)
    trend.take(10.5, [(0.4, 1.0), (0.2, 5.0)])
    trend.take(10.6, [(0.5, 1.0), (0.3, 5.0), (0.0, 3.0)])  # two of these were told before
    assert trend.last(10, 10.6) == [(10, 1.0, 5.0)]
    trend.take(14.0, [(1.0, 2.0), (0.0, 2.5)])
    trend.take(15.0, [(0.0, 7.0)])
    assert trend.last(10, 15.0) == [(13, 2.0, 2.0), (14, 2.5, 2.5), (15, 7.0, 7.0)], "blind seconds lack; old ones go"
    assert trend.last(2, 15.0) == [(14, 2.5, 2.5), (15, 7.0, 7.0)]
