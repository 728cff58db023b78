"""What must hold in every run: checked while it runs, and when its faults are over.

A broken promise stops the run. Some promises hold only without certain faults, because
processes share nothing but the store: each check says which.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from turvo_session import failure as failures
from turvo_session.errors import (
    CredentialsRejected,
    TokenEndpointUnavailable,
    TurvoAuthError,
)
from turvo_session.events import LoggedIn
from turvo_session.failure import (
    REJECTED,
    UNAVAILABLE,
    UNREACHABLE,
    Failure,
    Record,
)
from turvo_session.store import KEEP, Change
from turvo_session.tokens import Token, parse_object

from .turvo_model import COUNTED, FORBIDDEN, TURVO

if TYPE_CHECKING:
    from .process import Process
    from .scheduler import Task
    from .world import World

STORE_FAULTS = frozenset({"suspend", "lost", "away", "read-only", "clock", "data"})
"""Kinds of fault after which two processes may lead at once, or a write may be lost."""
LONGEST_CALL = 200.0
"""Seconds within which a call is back, whatever happens."""
LONGEST_IDLE = 8.0
"""Seconds by which a step of a process may be late, all in all."""
SLOWEST_COMMAND = 0.9
"""Seconds that one command to the store may take."""
LONGEST_LEASE = 16.0
"""Seconds that a lease of a process that has crashed may last."""
PATIENCE = 39.0
"""Seconds after which a caller no longer waits for other callers."""
SHORTEST_PAUSES = {kind: pauses[0] for kind, pauses in failures.PAUSES.items()}
"""Seconds between a failed login and the next one, at least."""
MOST_COUNTED = 8
COUNTED_FOR = 900.0
ROUNDING = 0.1


class Violation(Exception):
    """A promise was broken."""


@dataclass
class WatchedCall:
    """One call of a task to the API, or one login of an operator (``forced``).

    ``refused`` are the tokens that it had a 401 for, ``tried`` all that it has sent.
    """

    start: float
    path: str
    flight_seconds: float
    """How long there had been logins before it, all together."""
    suspended: float
    """How long its process had been suspended before it."""
    commands_before: int
    """How many commands its process had made before it."""
    forced: bool = False
    refused: list[str] = field(default_factory=list)
    tried: set[str] = field(default_factory=set)
    was_good: bool = False
    """Whether the process has seen the token accepted that it began with."""
    interrupted_at: float | None = None
    failed_commands: int = 0
    store_failed: bool = False
    """Whether a command failed, or was not made because of an earlier one."""
    logged_in: bool = False
    failed_login: bool = False
    store_worked: bool = False
    """Whether the store worked when a login began that failed."""


@dataclass(eq=False)
class Flight:
    """One login that is under way.

    ``ahead``: a due token may still serve; ``is_surely_ahead``: it does. ``counted``
    tries may have counted as wrong passwords, and one more if it is ``sending``.
    """

    task: Task
    call: WatchedCall
    ahead: bool
    had_token: bool
    """Whether Turvo had accepted a token of this process."""
    is_surely_ahead: bool = False
    is_impatient: bool = False
    """Whether others have led for so long that the caller no longer waits for them."""
    store_works: bool = False
    counted: int = 0
    sending: bool = False


@dataclass
class FailedLogin:
    """A failed login since the last token."""

    end: float
    failure: Failure
    flight: Flight
    process: Process
    token_end: float
    """The moment at which the due token expires; now if there is none."""

    @property
    def kind(self) -> str:
        """The kind of failure."""
        return self.failure.kind


class Checks:
    """Watches one world, and remembers the first promise that it broke."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.broken: str | None = None
        self.fault_kinds: set[str] = set()
        self.allowance = 0
        self.forbidden_calls = 0
        self.crashes = 0
        self.logins: list[float] = []
        self.logins_after_401: list[float] = []
        self._flights: list[Flight] = []
        self._flight_seconds = 0.0
        self._flight_since = 0.0
        self._counted: list[float] = []
        self._failed: list[FailedLogin] = []
        self._doubted: dict[str, float] = {}
        self._served: dict[str, int] = {}
        self._unreached: set[Process] = set()

    def break_promise(self, promise: str) -> None:
        """Stop the run: a promise is broken."""
        if self.broken is None:
            self.broken = promise
            self.world.add_line("BROKEN", promise)
            self.world.scheduler.stopped = True

    @property
    def store_is_sound(self) -> bool:
        """Whether no fault so far allows two logins at once."""
        return not self.fault_kinds & STORE_FAULTS

    # -- calls -------------------------------------------------------------------------

    def call_started(self, task: Task, path: str, *, forced: bool = False) -> None:
        """Begin to watch a call; a ``forced`` one is an operator's login."""
        task.call = WatchedCall(
            start=self.world.now,
            path=path,
            forced=forced,
            flight_seconds=self._seconds_in_flight(),
            suspended=task.process.suspended_seconds,
            commands_before=task.process.commands,
        )
        task.last_look = task.last_command = 0
        self.forbidden_calls += path == FORBIDDEN

    def token_accepted(self, token: Token) -> None:
        """Remember that Turvo accepted the token in some process."""
        self._doubted[token.access_token] = 0.0

    def token_refused(self, task: Task, token: Token) -> None:
        """Remember that Turvo answered 401 in this call."""
        task.call.refused.append(token.access_token)
        task.process.ever_refused.add(token.access_token)

    def token_adopted(self, process: Process, token: Token) -> None:
        """Check that a process does not go back to a token that it has replaced."""
        if token.access_token in process.replaced:
            self.break_promise("a process went back to a token that Turvo had refused")

    def call_answered(self, task: Task, status: int) -> None:
        """Check a call that got an answer."""
        self.came_back(task)
        allowed = task.call.path != FORBIDDEN
        if status == 401 and allowed and self._had_good_token(task):
            self.break_promise(
                "a call ended with a 401 though the store held a good token"
            )
        if status == 401 and allowed and self._is_curable(task.call):
            self.break_promise(
                "a call ended with a 401 though one login would have cured it"
            )

    def call_failed(self, task: Task, error: TurvoAuthError) -> None:
        """Check a call that got no token."""
        self.came_back(task)
        process = task.process
        if type(error) is TurvoAuthError:
            self.break_promise(f"a call failed with {error}")
        if self._had_good_token(task):
            self.break_promise("a call failed though the store held a good token")
        self._check_soft_failures(task)
        budget = "may have counted" in str(error)
        rejected = isinstance(error, CredentialsRejected) and not budget
        if rejected and process.is_right and not self.world.turvo.rejected_right:
            self.break_promise(
                "right credentials had to wait for the record of wrong ones"
            )
        if rejected and process.is_right:
            self._check_first_rejection()
        is_sound = process.is_right and process.endpoint == TURVO and process.has_route
        undisturbed = not self.fault_kinds and not self.world.turvo.is_moody
        if is_sound and undisturbed and not budget:
            self.break_promise("a call failed without a fault")
        unreachable = isinstance(error, TokenEndpointUnavailable)
        if unreachable and "cannot be reached" in str(error):
            others = self._unreached - {process}
            if process not in self._unreached and len(others) < 2:
                self.break_promise(
                    "one process without a route kept another from logging in"
                )

    def _check_soft_failures(self, task: Task) -> None:
        """Check that a failed renewal ahead of time counts as long as the old token."""
        if not self.store_is_sound or task.call.failed_login:
            return
        failed = [one for one in self._failed if self._concerns(one, task.process)]
        outlasted = [
            one
            for one in failed
            if one.flight.is_surely_ahead
            and one.token_end < self.world.now - 1.0
            and one.kind != REJECTED
            and not one.failure.retry_after
        ]
        if failed and outlasted == failed:
            self.break_promise("a failed renewal ahead of time outlasted the old token")

    def pause_found(self, record: Record) -> None:
        """Check that a record applies no longer than a pause of its kind."""
        longest = failures.PAUSES[record.kind][-1]
        if record.kind == UNAVAILABLE:
            longest = failures.LONGEST_RETRY_AFTER
        if record.left > longest + LONGEST_IDLE:
            self.break_promise(
                f"a failure that was {record.kind} counts for {record.left:.0f} s"
            )

    def interrupt_came_out(self, task: Task) -> None:
        """Check that an interrupt came out at once, and that no lease is left."""
        call = task.call
        since = self.world.now - (call.interrupted_at or self.world.now)
        if since > LONGEST_IDLE and self.store_is_sound:
            self.break_promise(f"an interrupt came out after {since:.1f} s")
        self.task_ended(task)
        self.came_back(task)

    def task_ended(self, task: Task) -> None:
        """Forget the logins of a call that may not have come to record them."""
        lost = [failed for failed in self._failed if failed.flight.call is task.call]
        self._failed = [failed for failed in self._failed if failed not in lost]
        self.allowance += 2 * len(lost)
        if task.call and task.call.logged_in:
            self._doubted = {}

    def came_back(self, task: Task) -> None:
        """Check how long a call took, and that it gave its lease back."""
        call, now = task.call, self.world.now
        suspended = task.process.suspended_seconds - call.suspended
        seconds = now - call.start - suspended
        if seconds > LONGEST_CALL:
            self.break_promise(f"a call took {seconds:.0f} s")
        idle = seconds - (self._seconds_in_flight() - call.flight_seconds)
        commands = task.process.commands - call.commands_before
        allowed = LONGEST_IDLE + commands * SLOWEST_COMMAND
        allowed += self.crashes * LONGEST_LEASE
        if self.store_is_sound and idle > allowed:
            self.break_promise(f"a call waited {idle:.1f} s for nobody's login")
        owner = self.world.store.lease_owner()
        is_mine = owner is not None and self.world.owners.get(owner) is call
        if is_mine and not call.store_failed and "data" not in self.fault_kinds:
            self.break_promise("a call left its lease behind")
        owner = task.process.memory.lease_owner()
        if owner is not None and self.world.owners.get(owner) is call:
            self.break_promise("a call left its lease among threads behind")

    def _had_good_token(self, task: Task) -> bool:
        """Return whether the store held a good token when the call last looked."""
        world, process, call = self.world, task.process, task.call
        held = world.store.token()
        if held is None or held[1] < LONGEST_IDLE or world.store.now_away():
            return False
        # After a failed login of its own a caller looks even where the breaker is open.
        looks_twice = call.store_worked and call.failed_commands < 2
        if not process.connection.works and not looks_twice:
            return False
        refused = held[0] in call.tried or held[0] in process.replaced
        if refused or not world.turvo.accepts(held[0]):
            return False
        command, moment = world.store.token_since
        if looks_twice:
            return command < task.last_command
        if task.last_look:
            return command < task.last_look
        if world.now - process.suspended_until < LONGEST_IDLE:
            return False  # what it believes is as old as that
        if held[0] in process.ever_refused:
            return False  # another thread was refused with it, and found no other one
        believed = failures.BELIEVED_FOR + 2 * SLOWEST_COMMAND
        return moment < min(call.start, world.now - believed)

    def _is_curable(self, call: WatchedCall) -> bool:
        """Return whether nothing went wrong but one revocation before the login."""
        if self.fault_kinds - {"revoked"} or self.world.faults[1:] or call.logged_in:
            return False
        if len(call.tried) > 2:
            return False  # each new token had ended before it was used
        if not call.was_good and call.refused[-1] in self._doubted:
            return False
        return not self.forbidden_calls and not self.world.turvo.is_moody

    def _check_first_rejection(self) -> None:
        """Check that one rejection beside a good token counts for a minute only."""
        rejections = [one for one in self._failed if one.kind == REJECTED]
        if len(rejections) != 1 or not self.store_is_sound:
            return
        (only,) = rejections
        waited = self.world.now - only.end
        if only.flight.had_token and waited > SHORTEST_PAUSES[REJECTED] + LONGEST_IDLE:
            self.break_promise(f"a first rejection counted for {waited:.0f} s")

    # -- logins ------------------------------------------------------------------------

    def login_started(self, task: Task) -> Flight:
        """Check whether there may be a login now."""
        world, process, call = self.world, task.process, task.call
        current = process.source.current
        refused = bool(call.refused)
        # A token that served when the call began may have expired since.
        ends = [world.store.token_end()]
        if current is not None:
            ends.append(current.end)
        served = not refused and max(ends) >= call.start
        ahead = not call.forced and (served or self._stored_token_serves(call))
        flight = Flight(task, call, ahead=ahead, had_token=refused)
        if ahead and current is not None and current.state(world.now) == "due":
            flight.is_surely_ahead = flight.had_token = True
        flight.store_works = process.connection.works and not call.failed_commands
        flight.is_impatient = world.now - call.start > PATIENCE
        led = [one for one in (flight, *self._flights) if not one.is_impatient]
        if len(led) > 1 and self.store_is_sound:
            self.break_promise("two logins at the same time")
        if not self._flights:
            self._flight_since = world.now
        self._flights.append(flight)
        if self.store_is_sound and not call.forced and not flight.is_impatient:
            self._check_pauses(flight)
            self._check_need(flight)
        return flight

    def turvo_answered(self, flight: Flight, result: Any) -> None:
        """Count what Turvo may have counted, at the moment at which it does."""
        world, process = self.world, flight.task.process
        if result == UNREACHABLE:
            self._unreached.add(process)
        if not isinstance(result, str):
            self._counted.clear()
        elif result in COUNTED and process.endpoint == TURVO:
            now = world.now
            self._counted = [one for one in self._counted if one > now - COUNTED_FOR]
            self._counted.append(now)
            most = MOST_COUNTED + self.allowance
            if len(self._counted) > most and self.store_is_sound:
                self.break_promise(
                    f"more than {most} attempts that may have counted in 15 min"
                )

    def login_cut(self, flight: Flight) -> None:
        """End a login that was interrupted, or whose process crashed."""
        self.allowance += flight.counted + flight.sending
        self._land(flight)

    def login_ended(self, flight: Flight, result: Any) -> None:
        """End a login, and check its outcome."""
        world = self.world
        self._land(flight)
        call = flight.task.call
        if isinstance(result, Failure):
            call.failed_login = True
            call.store_worked = flight.store_works
            failed = FailedLogin(
                end=world.now,
                failure=result,
                flight=flight,
                process=flight.task.process,
                token_end=self._end_of_due_token(flight),
            )
            # Nobody is told what came of a login without a lease.
            if not flight.is_impatient:
                self._failed.append(failed)
            return
        self._failed.clear()
        self.logins.append(world.now)
        call.logged_in = True
        self._doubted = {}
        if call.refused:
            doubted_until = world.now + failures.DOUBTED_FOR
            self._doubted[result.access_token] = doubted_until
        if call.refused or call.forced:
            return
        served = self._served.get(result.access_token, 0) + 1
        self._served[result.access_token] = served
        if served > 2 and not self.fault_kinds:
            self.break_promise("more than two logins in one rollover")

    def event_told(self, task: Task, event: object) -> None:
        """Check the rate of the logins because of a 401."""
        if not isinstance(event, LoggedIn) or event.reason != "refused":
            return
        if task.call.interrupted_at is not None:
            return  # it may not have come to write that
        times = self.logins_after_401
        times.append(self.world.now)
        if not self.store_is_sound:
            return
        for index, first in enumerate(times):
            allowed = failures.MOST_LOGINS_AT_ONCE
            allowed += (times[-1] - first + LONGEST_IDLE) / failures.LOGIN_COST
            if len(times) - index > allowed:
                self.break_promise(
                    "more logins because of a 401 than the bucket allows"
                )

    def account_locked(self) -> None:
        """Check that no process locked the account."""
        if self.store_is_sound and not self.allowance:
            self.break_promise("the account is locked")

    def _land(self, flight: Flight) -> None:
        if flight in self._flights:
            self._flights.remove(flight)
            if not self._flights:
                self._flight_seconds += self.world.now - self._flight_since

    def _seconds_in_flight(self) -> float:
        """Return for how many seconds there was a login so far."""
        if not self._flights:
            return self._flight_seconds
        return self._flight_seconds + self.world.now - self._flight_since

    def _stored_token_serves(self, call: WatchedCall) -> bool:
        held = self.world.store.token()
        return bool(held and held[0] not in call.refused)

    def _end_of_due_token(self, flight: Flight) -> float:
        current = flight.task.process.source.current
        end = self.world.store.token_end()
        return max(end, current.end) if current else end

    def _check_pauses(self, flight: Flight) -> None:
        """Check that a failed login keeps those from logging in whom it concerns."""
        process, now = flight.task.process, self.world.now
        for failed in self._failed:
            if not self._concerns(failed, process):
                continue
            pause = SHORTEST_PAUSES[failed.kind]
            if failed.flight.ahead:
                if flight.task.call.refused:
                    continue  # it ended together with the old token
                left = max(0.0, failed.token_end - failed.end)
                pause = min(failures.PAUSES_AHEAD[0], left)
            if now < failed.end + pause - ROUNDING:
                self.break_promise(
                    f"a login {now - failed.end:.1f} s after one that was "
                    f"{failed.kind} ({failed.process.name})"
                )

    def _concerns(self, failed: FailedLogin, process: Process) -> bool:
        if failed.process.endpoint != process.endpoint:
            return False
        if failed.kind == UNREACHABLE:
            return failed.process is process
        if failed.kind == REJECTED:
            return failed.process.credentials == process.credentials
        return True

    def _check_need(self, flight: Flight) -> None:
        """Check that there is no login while the store holds a fresh good token.

        After a 401 there is none either while the refused token is in doubt, unless the
        process has seen Turvo accept the token that it began with.
        """
        world, task, call = self.world, flight.task, flight.call
        held = world.store.token()
        if held is None or held[0] in call.refused:
            self._check_doubt(call)
            return
        if held[0] in task.process.replaced or not world.turvo.issued[held[0]]:
            return  # a script's token has the buffer of a long one
        command, _ = world.store.token_since
        buffer = min(300.0, world.setting.life / 10)
        is_fresh = held[1] > buffer + LONGEST_IDLE and command < task.last_look
        if is_fresh and world.turvo.accepts(held[0]):
            self.break_promise("a login though the store held a fresh token")

    def _check_doubt(self, call: WatchedCall) -> None:
        if call.was_good or not call.refused:
            return
        if self._doubted.get(call.refused[-1], 0.0) > self.world.now + ROUNDING:
            self.break_promise("a login though the refused token was in doubt")

    # -- the store ---------------------------------------------------------------------

    def store_written(self, task: Task, change: Change) -> None:
        """Check that no older token takes the place of a newer one that is good."""
        if change.token is KEEP or change.token is None:
            return
        turvo, held = self.world.turvo, self.world.store.token()
        new = parse_object(change.token.value)["access_token"]
        if held is None or not turvo.accepts(held[0]):
            return
        if turvo.issued[held[0]] > turvo.issued[new]:
            self.break_promise("a newer token was overwritten by an older one")
