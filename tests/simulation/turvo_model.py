"""A model of Turvo: its token endpoint, its account with a lock, and its API.

The counterpart of ``ModelLogin`` is ``login.PasswordLogin``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from turvo_session.failure import (
    FOREIGN,
    REJECTED,
    UNANSWERED,
    UNAVAILABLE,
    UNREACHABLE,
    Failure,
)

if TYPE_CHECKING:
    from .process import Process
    from .world import World

ATTEMPT_SECONDS = 13.0
"""The longest time of one token request: 3 s to connect and 10 s to read."""
LONGEST_LOGIN = 30.0
"""The longest time of one login, all its tries together."""
BUSY = "busy"
"""Turvo's answer 503 with a ``Retry-After`` of ``BUSY_FOR`` seconds."""
BUSY_FOR = 120.0
SLOW = "slow"
"""A token after ``SLOW_LOGIN`` seconds."""
SLOW_LOGIN = 12.0
COUNTED = frozenset({UNANSWERED, FOREIGN, REJECTED})
"""The kinds of failed login that Turvo may have counted as a wrong password."""
MOST_WRONG = 10
"""Wrong passwords in a row within ``LOCKED_FOR`` seconds after which Turvo locks."""
LOCKED_FOR = 900.0
FORBIDDEN = "/forbidden"
"""A path that Turvo answers with a 401 whatever the token."""
SHIPMENTS = "/shipments"
"""A path that Turvo answers with a 200, if the token is good."""
RIGHT = "right"
"""The credentials that Turvo accepts."""
TURVO = "turvo"
"""The token endpoint of Turvo. Another one is another server's."""


@dataclass(frozen=True)
class Setting:
    """How Turvo behaves in one run.

    ``policy``: a login gives a ``"fresh"`` token, the ``"same"`` one as long as it
    lives, or a fresh one that ends the old one (``"revoke"``). ``life`` is in seconds.
    ``login_seconds`` is the length of a token request, unless it hangs.
    """

    policy: str = "fresh"
    life: float = 43200.0
    login_seconds: float = 1.0


class Turvo:
    """Turvo: its token endpoint, its account with a lock, and its API."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.issued: dict[str, int] = {}
        self._ends: dict[str, float] = {}
        self.next_answers: list[str] = []
        self.is_moody = False
        self.mood: Callable[[], str] = str
        self.mood_of_wrong: Callable[[], str] = str
        self.refusals = 0
        self._wrong: list[float] = []
        self.rejected_right = False
        self.locked_until = -math.inf

    def visible_state(self) -> tuple[Any, ...]:
        """Return what tells two states of Turvo apart."""
        return (
            tuple(self._ends.items()),
            tuple(self.next_answers),
            tuple(self._wrong),
            self.refusals,
        )

    def accepts(self, secret: str) -> bool:
        """Return whether a call with this token is answered other than 401."""
        return self._world.now < self._ends.get(secret, -math.inf)

    def answers_well(self, secret: str, path: str) -> bool:
        """Return whether a call is answered other than 401."""
        if self.refusals:
            self.refusals -= 1
            return False
        return path != FORBIDDEN and self.accepts(secret)

    def revoke_all(self) -> None:
        """End every token."""
        for secret in self._ends:
            self._ends[secret] = min(self._ends[secret], self._world.now)

    def next_answer(self, process: Process) -> str:
        """Return how the next token request goes wrong, or ""."""
        if self.next_answers:
            return self.next_answers.pop(0)
        return self.mood() if process.is_right else self.mood_of_wrong()

    def log_in(self, process: Process, answer: str) -> tuple[str, float] | str:
        """Handle a token request; return a token and its life, or a kind of failure."""
        if answer == BUSY:
            return UNAVAILABLE
        if answer in (UNREACHABLE, UNAVAILABLE):
            return answer
        if process.endpoint != TURVO:
            return FOREIGN
        locked = self._world.now < self.locked_until
        if not process.is_right:
            self._count_wrong_password()
            return answer or REJECTED
        if locked or answer == REJECTED:
            self.rejected_right = True
            return REJECTED
        self._wrong.clear()
        granted = self._grant()
        return answer if answer in COUNTED else granted

    def _count_wrong_password(self) -> None:
        now = self._world.now
        self._wrong = [one for one in self._wrong if one > now - LOCKED_FOR]
        self._wrong.append(now)
        if len(self._wrong) >= MOST_WRONG:
            self.locked_until = now + LOCKED_FOR
            self._world.checks.account_locked()

    def _grant(self) -> tuple[str, float]:
        now, life = self._world.now, self._world.setting.life
        policy = self._world.setting.policy
        if policy == "same":
            for secret in self._ends:
                if self.accepts(secret):
                    return secret, float(int(self._ends[secret] - now))
        if policy == "revoke":
            self.revoke_all()
        return self.issue(life), life

    def issue(self, life: float) -> str:
        """Return a new token that lives for ``life`` seconds."""
        number = len(self.issued) + 1
        secret = f"token-{number}"
        self.issued[secret] = number
        self._ends[secret] = self._world.now + life
        return secret


class ModelGrant:
    """What ``login.Grant`` holds: a token, its life and the times of its request."""

    def __init__(self, secret: str, life: float, sent: float, received: float) -> None:
        self.access_token = secret
        self.expires_in = life
        self.sent = sent
        self.received = received


class ModelLogin:
    """What ``login.PasswordLogin`` does, in its three steps: start, middle and end."""

    attempt_seconds = ATTEMPT_SECONDS

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world
        self.url_hash = process.endpoint

    def proof(self, salt: str) -> str:
        """Return a hash of the credentials."""
        return f"{salt[:8]}-{self._process.credentials}"

    def __call__(
        self, *, attempts: int, may_count: int, extend: Callable[[float], None]
    ) -> Any:
        """Log in, with at most ``attempts`` tries."""
        checks = self._world.checks
        task = self._world.scheduler.pause("login starts")
        flight = checks.login_started(task)
        try:
            result = self._log_in(flight, attempts, may_count, extend)
        except BaseException:
            checks.login_cut(flight)
            raise
        checks.login_ended(flight, result)
        return result

    def _log_in(
        self,
        flight: Any,
        attempts: int,
        may_count: int,
        extend: Callable[[float], None],
    ) -> Any:
        scheduler = self._world.scheduler
        start, pause = self._world.now, 1.0
        for tried in range(1, attempts + 1):
            result = self._try_once(flight)
            if not isinstance(result, Failure):
                return result
            is_last = result.kind in (REJECTED, FOREIGN) or tried == attempts
            left = start + LONGEST_LOGIN - self._world.now
            if is_last or result.retry_after or flight.counted >= may_count:
                break
            if left < pause + 1.0:
                break
            extend(pause)
            scheduler.pause("next try", self._world.now + pause)
            extend(ATTEMPT_SECONDS)
            pause *= 2
        return result._replace(attempts=flight.counted)

    def _try_once(self, flight: Any) -> Any:
        scheduler, process = self._world.scheduler, self._process
        sent = self._world.now
        flight.sending = True
        seconds = self._world.setting.login_seconds / 2
        scheduler.pause("login half-way", sent + seconds)
        turvo = self._world.turvo
        answer = turvo.next_answer(process)
        if not process.has_route:
            answer = UNREACHABLE
        if answer == SLOW:
            seconds, answer = SLOW_LOGIN - seconds, ""
        if answer == UNANSWERED:
            seconds = ATTEMPT_SECONDS - seconds
        result = turvo.log_in(process, answer)
        self._world.checks.turvo_answered(flight, result)
        scheduler.pause("login ends", self._world.now + seconds)
        flight.sending = False
        process.learn_result("login", result)
        if isinstance(result, str):
            flight.counted += result in COUNTED
            asked = BUSY_FOR if answer == BUSY else None
            return Failure(result, f"the login was {result}", asked)
        return ModelGrant(*result, sent, self._world.now)
