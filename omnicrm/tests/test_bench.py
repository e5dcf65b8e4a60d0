"""The judge of `make bench`: it must not let a missed must pass, nor blame a peer for not being there."""

from contextlib import contextmanager

import pytest

from bench import database, harness, report
from bench.harness import Contestant, Limit, Measure, Options, Run, run_measure


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    monkeypatch.setattr(database, "settle", lambda: None)
    monkeypatch.setattr(database, "cpu_seconds", lambda: 0.0)


def measured(contestants, limits, *, rounds=3):
    @contextmanager
    def prepared(options):
        yield contestants

    measure = Measure("it", "It", "things", prepared, limits, rounds=rounds)
    return run_measure(measure, Options(), say=lambda line: None)


def taking(name, *seconds, units=100, turns=None, **notes):
    """A contestant that takes so many seconds, round by round."""

    def run(number):
        if turns is not None:
            turns.append(name)
        return Run(units, seconds[number % len(seconds)], notes=notes)

    return Contestant(name, run)


def test_a_ratio_is_the_median_of_the_rounds_and_not_of_the_sums():
    result = measured(
        [taking("ours", 1, 1, 30), taking("floor", 1, 2, 3)],
        [Limit("ours", "floor", "seconds", at_most=1)],
    )
    [judged] = result.judged
    assert (judged.value, judged.low, judged.high) == (1, 0.5, 10)
    assert not result.failed


def test_who_does_less_a_round_is_compared_by_the_unit():
    result = measured(
        [taking("ours", 2, units=1000), taking("peer", 1, units=50)], [Limit("ours", "peer", at_least=10)]
    )
    assert result.judged[0].value == 10
    assert not result.failed


def test_a_missed_must_fails_and_a_missed_goal_does_not():
    contestants = [taking("ours", 2), taking("floor", 1)]
    assert measured(contestants, [Limit("ours", "floor", at_least=0.55)]).failed
    assert not measured(contestants, [Limit("ours", "floor", at_least=0.4, goal_at_least=0.8)]).failed


def test_a_figure_of_its_own_is_judged_by_its_worst_round():
    def run(number):
        return Run(1, 1, notes={"growth": [0.01, 0.3, 0.02][number]})

    result = measured([Contestant("ours", run)], [Limit("ours", figure="growth", at_most=0.1)])
    assert result.judged[0].value == 0.3
    assert result.failed


def test_the_order_is_turned_round_every_other_round():
    turns: list[str] = []
    measured([taking("a", 1, turns=turns), taking("b", 1, turns=turns)], [], rounds=3)
    assert turns == ["a", "b", "b", "a", "a", "b"]


def test_a_peer_that_is_not_to_be_had_is_told_and_nobody_fails():
    absent = Contestant("peer", None, skipped="no network")
    result = measured([taking("ours", 1), absent], [Limit("ours", "peer", at_least=10)])
    assert not result.failed
    assert "skipped: no network" in report.table(result)
    assert "not judged" in report.table(result)


def test_a_measure_that_breaks_fails_and_says_why():
    def broken(number):
        raise AssertionError("199 of 200 mails arrived.")

    result = measured([Contestant("ours", broken)], [Limit("ours", figure="rate", at_least=1)])
    assert result.failed
    assert "199 of 200 mails arrived." in report.table(result)


def test_every_round_stands_in_the_record():
    result = measured([taking("ours", 1, 2), taking("floor", 1)], [Limit("ours", "floor", at_least=2)])
    told = result.as_json()
    assert [len(contestant["rounds"]) for contestant in told["contestants"]] == [3, 3]
    assert told["limits"][0]["holds"] is False
    assert harness.Run(
        **{k: v for k, v in told["contestants"][0]["rounds"][1].items() if k[:8] != "database"}
    )
