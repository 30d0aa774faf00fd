from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.station.decision import DecisionRules, Vote

RULES = DecisionRules(threshold=10.0, spread=2.0, k=2, n=3, deadband=0.5)


def seen(vote: Vote, *scores: float, step_s: float = 0.1) -> list[bool]:
    return [vote.see(score, i * step_s) for i, score in enumerate(scores)]


def test_k_of_n_frames_raise_the_condition() -> None:
    assert seen(Vote(RULES), 11, 1, 1, 11, 1, 11) == [False, False, False, False, False, True]


def test_a_score_at_the_threshold_does_not_count() -> None:
    assert seen(Vote(RULES), 10, 10, 10) == [False, False, False]


def test_inside_the_deadband_the_condition_stays() -> None:
    assert seen(Vote(RULES), 11, 11, 9.5, 9.5, 9.5, 9.5)[-1] is True


def test_n_clean_frames_in_a_row_end_it() -> None:
    assert seen(Vote(RULES), 11, 11, 9, 9, 9) == [False, True, True, True, False]


def test_on_delay_must_pass_without_a_break() -> None:
    vote = Vote(DecisionRules(10.0, 2.0, k=1, n=1, on_delay_s=0.25))
    assert seen(vote, 11, 11, 1, 11, 11, 11, 11) == [False, False, False, False, False, False, True]


def test_off_delay_holds_the_condition() -> None:
    vote = Vote(DecisionRules(10.0, 2.0, k=1, n=1, off_delay_s=0.15))
    assert seen(vote, 11, 1, 1, 1) == [True, True, True, False]


def test_what_was_seen_before_blindness_does_not_vote_after_it() -> None:
    vote = Vote(RULES)
    vote.see(11, 0.0)
    vote.forget()
    assert vote.see(11, 0.1) is False


def test_blindness_does_not_end_the_condition() -> None:
    vote = Vote(RULES)
    seen(vote, 11, 11)
    vote.forget()
    assert vote.active and vote.see(1, 1.0) and vote.see(1, 1.1)


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_refused(score: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        Vote(RULES).see(score, 0.0)


@pytest.mark.parametrize(("k", "n"), [(0, 3), (4, 3)])
def test_senseless_votes_are_refused(k: int, n: int) -> None:
    with pytest.raises(ValueError, match="k of n"):
        Vote(DecisionRules(1.0, 1.0, k=k, n=n))


@given(st.lists(st.floats(-100, 100), max_size=60), st.integers(1, 4), st.integers(0, 3))
def test_without_delays_the_vote_is_what_its_definition_says(scores: list[float], k: int, more: int) -> None:
    n = k + more
    vote, active = Vote(DecisionRules(10.0, 2.0, k=k, n=n)), False
    for i, score in enumerate(scores):
        last = scores[max(0, i + 1 - n) : i + 1]
        active = not (len(last) == n and all(s <= 9.0 for s in last)) if active else sum(s > 10.0 for s in last) >= k
        assert vote.see(score, float(i)) is active


@given(st.lists(st.floats(9.01, 10.99), min_size=4, max_size=80))
def test_flicker_at_the_limit_raises_once_at_most(scores: list[float]) -> None:
    states = [False, *seen(Vote(RULES), *scores)]
    assert sum(b and not a for a, b in itertools.pairwise(states)) <= 1
