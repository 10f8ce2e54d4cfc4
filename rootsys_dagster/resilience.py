"""What to do when the other side is slow, busy or away: retry, circuit breaker, rate limit.

Decides when something is tried; which errors are worth it says their class, see core/errors.py.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from random import Random
from typing import Any, Final, Protocol, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from rootsys_dagster.core.errors import TransientError
from rootsys_dagster.core.policy import CircuitBreaker, RateLimit, Retry

T = TypeVar("T")
MAX_DOUBLINGS: Final = 16
LOOK_EVERY_S: Final = 1.0
"""How often a run looks whether another one was asked to pause."""


class SharedMembers(Protocol):
    """State that several processes share; ``log.shared_state.SharedState`` is one."""

    def read(self) -> dict[str, Any]: ...

    def changing(self) -> AbstractContextManager[dict[str, Any]]: ...


class CircuitOpenError(TransientError):
    """The source failed so often in a row that it is left alone for a while."""

    default_code = "CIRCUIT.OPEN"


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment by which something has to be done, by the monotonic clock."""

    at_s: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """So many seconds from now."""
        return cls(time.monotonic() + seconds)

    def left_s(self) -> float:
        """Seconds that are left, 0 when it has passed."""
        return max(self.at_s - time.monotonic(), 0.0)


def backoff_ms(attempt: int, policy: Retry, random: Random) -> float:
    """How long to wait before retry number *attempt*, in milliseconds.

    ``min(base · 2^(attempt − 1), max)``, moved by up to ±``jitter_percent`` so that many clients do not come back at
    once. A max below base is raised to base.

    Args:
        attempt: 1 for the first retry; the first call itself waits for nothing.
        random: injected, so that a test chooses the jitter.
    Raises:
        ValueError: *attempt* is below 1.
    Source: spec/1-reference.md 1.9.
    """
    if attempt < 1:
        raise ValueError(f"retries count from 1, not {attempt}")
    longest = max(policy.max_delay_ms, policy.base_delay_ms)
    delay = min(policy.base_delay_ms * 2 ** min(attempt - 1, MAX_DOUBLINGS), longest)
    window = delay * policy.jitter_percent // 100
    return max(random.uniform(delay - window, delay + window), 0.0)


def retrying(
    call: Callable[[], T],
    policy: Retry,
    *,
    deadline: Deadline | None = None,
    random: Random | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """The result of *call*, tried again after each TransientError up to ``max_attempts`` times in all.

    A ``retry_after_s`` of the error replaces the backoff. When a wait would end after *deadline*, or the circuit is
    open, the error goes on at once.
    """
    try:
        return call()
    except TransientError as error:
        failures: list[TransientError] = [error]
    chosen = random or Random()

    def next_call() -> T:
        # The first call has been made: nearly always it succeeds, and pays for nothing of this.
        if failures:
            raise failures.pop()
        return call()

    def wait_s(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after_s if isinstance(error, TransientError) else None
        return backoff_ms(state.attempt_number, policy, chosen) / 1000 if asked is None else asked

    def stop(state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        return isinstance(error, CircuitOpenError) or (
            deadline is not None and state.upcoming_sleep > deadline.left_s()
        )

    attempts = stop_after_attempt(max(policy.max_attempts, 1))
    again = Retrying(
        retry=retry_if_exception_type(TransientError),
        wait=wait_s,
        stop=lambda state: attempts(state) or stop(state),
        sleep=sleep,
        reraise=True,
    )
    return again(next_call)


class Breaker:
    """A circuit breaker: closed until ``failure_threshold`` failures in a row, then open, then one probe at a time.

    Its state is shared, so that it survives runs and is seen by ``rootsys show``. Source: spec/1-reference.md 1.9.

    Args:
        clock: seconds since the epoch; shared by processes, so not the monotonic clock of one of them.
    """

    def __init__(
        self, name: str, policy: CircuitBreaker, shared: SharedMembers, clock: Callable[[], float] = time.time
    ) -> None:
        self.name = name
        self.policy = policy
        self._shared = shared
        self._clock = clock

    def call(self, action: Callable[[], T]) -> T:
        """The result of *action*; every exception counts as a failure of the source.

        Raises:
            CircuitOpenError: the source is left alone now, or another call is the probe.
        """
        self._enter()
        try:
            result = action()
        except BaseException as error:
            # An interruption says nothing of the source, but a probe must not be left hanging.
            self._leave(failed=isinstance(error, Exception))
            raise
        self._leave(failed=False)
        return result

    def _enter(self) -> None:
        with self._shared.changing() as members:
            if members.get("state", "closed") == "closed":
                return
            now, timeout_s = self._clock(), self.policy.open_timeout_ms / 1000
            waiting_since = members.get("probe_at" if members["state"] == "half_open" else "opened_at", 0)
            left_s = waiting_since + timeout_s - now
            if 0 < left_s <= timeout_s:
                raise CircuitOpenError(
                    f"{self.name}: {members.get('failures', 0)} calls in a row failed, so it is left alone for another "
                    f"{left_s:.1f} s; see to the source, then run again",
                    retry_after_s=left_s,
                )
            # A probe whose process died is replaced by another after the same time.
            members.update(state="half_open", probe_at=now)

    def _leave(self, *, failed: bool) -> None:
        # Nearly every call succeeds while closed: reading needs no lock.
        if not failed and not self._shared.read().get("failures"):
            return
        with self._shared.changing() as members:
            if not failed:
                members.update(state="closed", failures=0)
                members.pop("probe_at", None)
                return
            failures = members.get("failures", 0) + 1
            members["failures"] = failures
            if members.get("state") == "half_open" or failures >= self.policy.failure_threshold:
                members.update(state="open", opened_at=self._clock())
            else:
                members["state"] = "closed"


class Throttle:
    """A token bucket that every process with the same shared state draws from.

    Args:
        policy: None waits only while a source has asked for a pause.
    """

    def __init__(
        self,
        policy: RateLimit | None,
        shared: SharedMembers,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.policy = policy
        self._shared = shared
        self._clock = clock
        self._sleep = sleep
        self._paused_until = self._look_again_at = 0.0

    def take(self, deadline: Deadline | None = None) -> None:
        """Wait for a turn.

        Raises:
            TransientError: the turn would come after *deadline*; it is not taken.
        """
        wait_s = self._reserve(deadline.left_s() if deadline else None)
        if wait_s > 0:
            self._sleep(wait_s)

    def pause(self, seconds: float) -> None:
        """Nobody gets a turn for so long: the source said that the limit is used up."""
        with self._shared.changing() as members:
            members["paused_until"] = max(members.get("paused_until", 0.0), self._clock() + seconds)
            self._paused_until = members["paused_until"]

    def _pause_left_s(self) -> float:
        now = self._clock()
        if now >= self._look_again_at:
            self._paused_until = self._shared.read().get("paused_until", 0.0)
            self._look_again_at = now + LOOK_EVERY_S
        return max(self._paused_until - now, 0.0)

    def _reserve(self, at_most_s: float | None) -> float:
        if self.policy is None:
            wait_s = self._pause_left_s()
            if at_most_s is not None and wait_s > at_most_s:
                raise _no_turn("the pause that the source has asked for", wait_s, at_most_s)
            return wait_s
        # The time at which the bucket would be full again is all that has to be kept (generic cell rate algorithm).
        step_s = 1 / self.policy.requests_per_s
        slack_s = (self.policy.burst - 1) * step_s
        with self._shared.changing() as members:
            now = self._clock()
            due = max(members.get("next_at", 0.0), now)
            wait_s = max(due - slack_s - now, members.get("paused_until", 0.0) - now, 0.0)
            if at_most_s is not None and wait_s > at_most_s:
                what = f"the rate limit of {self.policy.requests_per_s:g} requests per second"
                raise _no_turn(what, wait_s, at_most_s)
            members["next_at"] = due + step_s
        return wait_s


def _no_turn(what: str, wait_s: float, at_most_s: float) -> TransientError:
    message = f"{what} leaves no turn within {at_most_s:.1f} s; run again later"
    return TransientError(message, retry_after_s=wait_s, code="RATE_LIMIT.NO_TURN")
