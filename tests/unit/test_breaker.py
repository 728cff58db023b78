"""A circuit breaker: one timeout an outage, then none until a probe works."""

from __future__ import annotations

import pytest

from tests.support.clock import Clock
from turvo_session.breaker import PROBE, CircuitBreaker
from turvo_session.store import StoreError

PATIENCE = 3.0


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    breaker = CircuitBreaker(slowest=1.0, clock=clock)
    assert breaker.admit_command(PATIENCE) == PATIENCE
    breaker.note_failure("it hangs")
    return breaker


def is_refused(breaker: CircuitBreaker) -> bool:
    try:
        assert breaker.admit_command(PATIENCE) == PROBE
    except StoreError as error:
        assert str(error).startswith("still out of order: it")
        return True
    return False


def seconds_until_a_probe(breaker: CircuitBreaker, clock: Clock) -> float:
    start = clock()
    while is_refused(breaker):
        clock.sleep(0.5)
    return clock() - start


def test_probes_grow_rarer_to_a_minute(breaker: CircuitBreaker, clock: Clock) -> None:
    pauses = []
    for _ in range(8):
        pauses.append(seconds_until_a_probe(breaker, clock))
        breaker.note_failure("it still hangs")
    assert pauses == [2, 2, 4, 8, 16, 32, 60, 60]


def test_a_quick_answer_ends_the_outage(breaker: CircuitBreaker, clock: Clock) -> None:
    seconds_until_a_probe(breaker, clock)
    breaker.note_success(1.0)
    assert is_refused(breaker)
    breaker.note_success(0.9)
    assert breaker.admit_command(PATIENCE) == PATIENCE
    breaker.note_failure("it hangs again")
    assert seconds_until_a_probe(breaker, clock) == 2


def test_one_more_command_may_be_asked_for(breaker: CircuitBreaker) -> None:
    breaker.try_again()
    assert breaker.admit_command(PATIENCE) == 1.0
    assert is_refused(breaker)
