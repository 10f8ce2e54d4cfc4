"""Retry, circuit breaker and rate limit, by the formulas of the reference, with a clock that tests move."""

import threading
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootsys_dagster.core.errors import PermanentError, TransientError
from rootsys_dagster.core.policy import CircuitBreaker, RateLimit, Retry
from rootsys_dagster.log.shared_state import SharedState
from rootsys_dagster.resilience import Breaker, CircuitOpenError, Deadline, Throttle, backoff_ms, retrying


class Clock:
    """Seconds that pass only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shared(tmp_path: Path) -> SharedState:
    return SharedState(tmp_path, "api.example.com")


@pytest.mark.parametrize(
    ("attempt", "policy", "delay"),
    [
        pytest.param(1, Retry(base_delay_ms=100, jitter_percent=0), 100, id="RS-47, RS-50: first"),
        pytest.param(2, Retry(base_delay_ms=100, jitter_percent=0), 200, id="RS-47, RS-50: second"),
        pytest.param(3, Retry(base_delay_ms=100, jitter_percent=0), 400, id="RS-47, RS-50: third"),
        pytest.param(5, Retry(base_delay_ms=100, max_delay_ms=500, jitter_percent=0), 500, id="RS-48: capped"),
        pytest.param(1, Retry(base_delay_ms=5000, jitter_percent=0), 5000, id="a max below base is raised to it"),
        pytest.param(999, Retry(base_delay_ms=1, max_delay_ms=10**9, jitter_percent=0), 65536, id="16 doublings"),
    ],
)
def test_the_delay_doubles_up_to_its_cap(attempt: int, policy: Retry, delay: float) -> None:
    assert backoff_ms(attempt, policy, Random(1)) == delay


@given(st.integers(0, 2**32))
def test_the_jitter_stays_within_its_window(seed: int) -> None:
    """RS-49: base 100, jitter 20, index 1 of the reference, the second retry: 160 to 240."""
    assert 160 <= backoff_ms(2, Retry(base_delay_ms=100, jitter_percent=20), Random(seed)) <= 240


def test_attempts_count_from_one() -> None:
    with pytest.raises(ValueError, match="from 1"):
        backoff_ms(0, Retry(), Random(1))


def failing(times: int, error: Callable[[], Exception] = lambda: TransientError("busy")) -> Callable[[], int]:
    calls = 0

    def call() -> int:
        nonlocal calls
        calls += 1
        if calls <= times:
            raise error()
        return calls

    return call


def test_a_transient_error_is_tried_again(clock: Clock) -> None:
    policy = Retry(max_attempts=3, base_delay_ms=100, jitter_percent=0)
    assert retrying(failing(2), policy, sleep=clock.sleep) == 3
    assert clock.slept == [0.1, 0.2]


def test_the_last_failure_goes_on(clock: Clock) -> None:
    with pytest.raises(TransientError, match="busy"):
        retrying(failing(3), Retry(max_attempts=3), sleep=clock.sleep)
    assert len(clock.slept) == 2


def test_what_waiting_does_not_mend_is_not_tried_again(clock: Clock) -> None:
    with pytest.raises(PermanentError):
        retrying(failing(1, lambda: PermanentError("no")), Retry(max_attempts=3), sleep=clock.sleep)
    assert clock.slept == []


def test_the_other_side_may_say_how_long_to_wait(clock: Clock) -> None:
    policy = Retry(max_attempts=2, max_delay_ms=100)
    retrying(failing(1, lambda: TransientError("busy", retry_after_s=7)), policy, sleep=clock.sleep)
    assert clock.slept == [7]


def test_nothing_is_waited_for_that_ends_after_the_deadline(clock: Clock) -> None:
    with pytest.raises(TransientError, match="busy"):
        retrying(
            failing(1, lambda: TransientError("busy", retry_after_s=60)),
            Retry(max_attempts=9),
            deadline=Deadline.after(5),
            sleep=clock.sleep,
        )
    assert clock.slept == []


def breaker(shared: SharedState, clock: Clock, threshold: int = 2) -> Breaker:
    return Breaker("mes", CircuitBreaker(failure_threshold=threshold, open_timeout_ms=30_000), shared, clock)


def fail(breaker: Breaker) -> None:
    with pytest.raises(PermanentError):
        breaker.call(failing(1, lambda: PermanentError("404")))


def test_the_breaker_opens_at_its_threshold(shared: SharedState, clock: Clock) -> None:
    """RS-53 and RS-55: one failure leaves it closed, two open it, and open rejects without a call."""
    one = breaker(shared, clock)
    fail(one)
    assert shared.read() == {"failures": 1, "state": "closed"}
    fail(one)
    assert shared.read()["state"] == "open"
    with pytest.raises(CircuitOpenError) as caught:
        one.call(lambda: pytest.fail("called"))
    assert caught.value.retry_after_s == 30


def test_rejecting_does_not_restart_the_open_window(shared: SharedState, clock: Clock) -> None:
    one = breaker(shared, clock, threshold=1)
    fail(one)
    clock.now += 29
    with pytest.raises(CircuitOpenError):
        one.call(lambda: 1)
    clock.now += 1
    assert one.call(lambda: 1) == 1


def test_half_open_lets_one_probe_through_and_its_outcome_decides(shared: SharedState, clock: Clock) -> None:
    """RS-54, with one probe in place of any number."""
    one, other = breaker(shared, clock, threshold=1), breaker(shared, clock, threshold=1)
    fail(one)
    clock.now += 30

    def probe() -> int:
        with pytest.raises(CircuitOpenError):
            other.call(lambda: pytest.fail("a second probe"))
        raise PermanentError("still down")

    with pytest.raises(PermanentError):
        one.call(probe)
    assert shared.read()["state"] == "open"
    clock.now += 30
    assert one.call(lambda: 1) == 1
    assert shared.read() == {"state": "closed", "failures": 0, "opened_at": clock.now - 30}


def test_a_probe_that_died_does_not_keep_the_breaker_half_open_for_ever(shared: SharedState, clock: Clock) -> None:
    with shared.changing() as members:
        members.update(state="half_open", probe_at=clock.now, failures=5)
    clock.now += 30
    assert breaker(shared, clock).call(lambda: 1) == 1


def test_the_breaker_survives_its_process(shared: SharedState, clock: Clock, tmp_path: Path) -> None:
    fail(breaker(shared, clock, threshold=1))
    again = SharedState(tmp_path, "api.example.com")
    with pytest.raises(CircuitOpenError):
        breaker(again, clock, threshold=1).call(lambda: 1)


def test_success_while_closed_forgets_failures(shared: SharedState, clock: Clock) -> None:
    one = breaker(shared, clock)
    fail(one)
    one.call(lambda: 1)
    fail(one)
    assert shared.read()["state"] == "closed"


def throttle(shared: SharedState, clock: Clock, rate: float = 10, burst: int = 1) -> Throttle:
    return Throttle(RateLimit(requests_per_s=rate, burst=burst), shared, clock, clock.sleep)


def test_turns_come_at_the_rate_after_the_burst(shared: SharedState, clock: Clock) -> None:
    one, other = throttle(shared, clock, burst=3), throttle(shared, clock, burst=3)
    began = clock.now
    for number in range(13):
        (one if number % 2 else other).take()
    assert clock.now - began == pytest.approx(1.0)
    assert len(clock.slept) == 10


def test_a_turn_after_the_deadline_is_not_taken(shared: SharedState, clock: Clock) -> None:
    one = throttle(shared, clock, rate=0.01)
    one.take()
    with pytest.raises(TransientError) as caught:
        one.take(Deadline.after(1))
    assert caught.value.code == "RATE_LIMIT.NO_TURN"
    clock.now += 100
    one.take(Deadline.after(1))
    assert clock.slept == []


def test_a_source_that_says_its_limit_is_used_up_stops_everybody(shared: SharedState, clock: Clock) -> None:
    throttle(shared, clock, burst=100).pause(5)
    throttle(shared, clock, burst=100).take()
    assert clock.slept == [pytest.approx(5)]


def test_shared_state_loses_no_change(tmp_path: Path) -> None:
    def count() -> None:
        for _ in range(50):
            with SharedState(tmp_path, "x").changing() as members:
                members["n"] = members.get("n", 0) + 1

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert SharedState(tmp_path, "x").read() == {"n": 200}


def test_shared_state_that_cannot_be_read_begins_anew(shared: SharedState) -> None:
    with shared.changing() as members:
        members["n"] = 1
    shared.path.write_text("torn")
    assert shared.read() == {}
