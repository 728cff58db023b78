"""Token sources over an endpoint, a store and a clock that are made by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

from tests.support.clock import Clock
from tests.support.threads import LONG
from turvo_session import renewal
from turvo_session.errors import TurvoAuthError
from turvo_session.events import Event
from turvo_session.failure import FOREIGN, REJECTED, UNANSWERED, UNREACHABLE, Failure
from turvo_session.login import Grant
from turvo_session.renewal import Adopt, Got, Stay
from turvo_session.source import TokenSource
from turvo_session.store import Change, MemoryStore, Slot, Snapshot, StoreError
from turvo_session.tokens import Token

OTHER = b"f" * 16
"""The owner of another caller's lease."""
ATTEMPT = 13.0
"""Seconds that an attempt takes at most."""
LEASE = ATTEMPT + 2.0
LIFE = 43200.0
DUE_AT = LIFE - 300.0
ALL = {"read", "swap", "wait"}

Extend = Callable[[float], None]
Answer = Grant | Failure | Callable[[Extend], Any] | None


def failed(kind: str, retry_after: float | None = None) -> Failure:
    """Return what a login came to: with one attempt, if its kind may count at all."""
    attempts = int(kind in (UNANSWERED, FOREIGN, REJECTED))
    return Failure(kind, f"POST {kind}", retry_after, attempts)


def spelled(outcome: object) -> str:
    """Return how a token was come by, and which; or the name of the error."""
    match outcome:
        case Got(token) | Adopt(token):
            return f"{type(outcome).__name__} {token.access_token}"
    return type(outcome).__name__


class Endpoint:
    """A token endpoint. It gives a new token unless told otherwise.

    ``answers`` are what the next logins come to; a callable one runs in the middle of
    the login. ``down`` is what every login comes to. With ``serves_again`` a token is
    given until it is over. The logins wait at ``gate``.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.life = LIFE
        self.served = ("", 0.0)
        self.serves_again = False
        self.down: Failure | None = None
        self.answers: list[Answer] = []
        self.users: list[str] = []
        self.times: list[float] = []
        self.tries: list[tuple[int, int]] = []
        self.begun = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def answer(self, user: str, tries: tuple[int, int], extend: Extend) -> Any:
        """Return what a login of ``user`` comes to."""
        sent = self.clock()
        self.times.append(sent - 1000.0)
        self.tries.append(tries)
        self.users.append(user)
        self.begun.set()
        assert self.gate.wait(LONG)
        answer = self.answers.pop(0) if self.answers else None
        if callable(answer):
            answer = answer(extend)
        if "wrong" in user:
            answer = failed(REJECTED)
        if "cut off" in user:
            answer = failed(UNREACHABLE)
        if isinstance(answer, Grant | Failure):
            return answer
        return self.down or self._grant(sent)

    def _grant(self, sent: float) -> Grant:
        secret, end = self.served
        if self.serves_again and sent < end:
            return Grant(secret, float(int(end - sent)), sent, self.clock())
        self.served = f"token-{len(self.users)}", sent + self.life
        return Grant(self.served[0], self.life, sent, self.clock())


class Login:
    """The login of one user at an endpoint."""

    attempt_seconds = ATTEMPT

    def __init__(self, endpoint: Endpoint, user: str, url_hash: str) -> None:
        self.url_hash = url_hash
        self._endpoint, self._user = endpoint, user

    def __call__(
        self, *, attempts: int, may_count: int, extend: Extend
    ) -> Grant | Failure:
        return self._endpoint.answer(self._user, (attempts, may_count), extend)

    def proof(self, salt: str) -> str:
        return sha256(f"{salt} {self._user}".encode()).hexdigest()


class Shared(MemoryStore):
    """A store whose calls fail as long as their names are in ``broken``.

    A wait moves the clock. ``meanwhile`` runs in every wait, and each of ``faster``
    runs right before a swap.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.broken: set[str] = set()
        self.calls: list[str] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.faster: list[Callable[[], object]] = []
        self._pass_time = clock.sleep

    def read(self) -> Snapshot:
        self._check("read")
        return super().read()

    def swap(self, seen: Snapshot, change: Change) -> bool:
        self._check("swap")
        if self.faster:
            self.faster.pop(0)()
        return super().swap(seen, change)

    def wait(self, seen: Snapshot, seconds: float) -> None:
        self._check("wait")
        self._pass_time(seconds)
        self.meanwhile()

    def be_patient(self, seconds: float) -> None:
        self.calls.append(f"patient for {seconds:g} s")

    def put(self, **change: Any) -> None:
        """Write as another process does."""
        assert super().swap(super().read(), Change(**change))

    def put_token(self, secret: str, left: float = LIFE) -> None:
        """Store a token as an existing script does."""
        self.put(token=Slot(b'{"access_token": "%s"}' % secret.encode(), left))

    def be_led(self) -> None:
        """Let another process lead."""
        self.put(lease=Slot(OTHER, LEASE))

    @property
    def held(self) -> str | None:
        """The token that it holds."""
        token = renewal.held_token(super().read())
        return token and token.access_token

    @property
    def lease(self) -> Slot | None:
        """The lease that it holds."""
        return super().read().lease

    def _check(self, call: str) -> None:
        self.calls.append(call)
        if call in self.broken:
            raise StoreError(f"no {call}")

    def __repr__(self) -> str:
        return "<Shared>"


class Room(MemoryStore):
    """The memory in which threads meet. ``full`` is set when enough of them wait."""

    def __init__(self, clock: Callable[[], float], seats: int) -> None:
        super().__init__(clock=clock)
        self.full = threading.Event()
        self._seats = seats
        self._counting = threading.Lock()

    def wait(self, seen: Snapshot, seconds: float) -> None:
        with self._counting:
            self._seats -= 1
            if self._seats <= 0:
                self.full.set()
        super().wait(seen, seconds)


class LateLeader(Room):
    """A room in which a caller that has put a token is held back."""

    def __init__(self, clock: Callable[[], float], seats: int) -> None:
        super().__init__(clock, seats)
        self.let_go = threading.Event()

    def swap(self, seen: Snapshot, change: Change) -> bool:
        applied = super().swap(seen, change)
        assert not change.wake or self.let_go.wait(LONG)
        return applied


class Process(TokenSource):
    """A source that keeps the events it told, and spells what it answers."""

    def __init__(
        self,
        endpoint: Endpoint,
        store: Any,
        user: str = "right",
        url_hash: str = "0a1b2c3d4e5f",
        **options: Any,
    ) -> None:
        self.told: list[Event] = []
        super().__init__(
            Login(endpoint, user, url_hash),
            store,
            expiry_buffer=300.0,
            clock=endpoint.clock,
            **{"tell": self.told.append} | options,
        )

    def ask(self) -> str:
        """Return the token to use, or the name of the error."""
        try:
            return self.get().token.access_token
        except TurvoAuthError as error:
            return type(error).__name__

    def ask_again(self, refused: Token, **how: bool) -> str:
        """Return what replaces a refused token."""
        return spelled(self.renew(refused, **how))

    def new_token(self, refused: Token) -> Token:
        """Return the token that replaces a refused one."""
        outcome = self.renew(refused)
        assert not isinstance(outcome, Stay)
        return outcome.token

    def heard(self, *kinds: type) -> list[Event]:
        """Return the events of these kinds."""
        return [event for event in self.told if isinstance(event, kinds)]


class World:
    """An endpoint, a shared store, a clock, and the processes that use them."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.sleep = clock.sleep
        self.endpoint = Endpoint(clock)
        self.shared = Shared(clock)

    @property
    def logins(self) -> int:
        """How many there were so far."""
        return len(self.endpoint.users)

    def process(self, user: str = "right", **options: Any) -> Process:
        """Return a process that shares its token."""
        return Process(self.endpoint, self.shared, user, **options)

    def alone(self, **options: Any) -> Process:
        """Return a process without a shared store."""
        return Process(self.endpoint, None, **options)

    def fleet(self, *, age: float = 0.0) -> list[Process]:
        """Return three processes; all have got the same token ``age`` seconds ago."""
        fleet = [self.process() for _ in range(3)]
        if age:
            self.poll(fleet, age, step=age)
        return fleet

    def poll(
        self, fleet: Sequence[Process], seconds: float, step: float = 1.0
    ) -> list[str]:
        """Have each process ask at every step, and return what they got."""
        found: list[str] = []
        end = self.clock() + seconds
        while self.clock() < end:
            found += [process.ask() for process in fleet]
            self.clock.sleep(step)
        return found
