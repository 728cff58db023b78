"""What happened to the token, as frozen values: for the log and for ``on_event``.

Each event is one record of the logger ``turvo_session``, and ``str(event)`` is its
message. For log formatters the record also carries ``turvo_event``, the name of the
event's class, and the event's fields as ``turvo_token``, ``turvo_seconds`` and so on.
A script that does not configure logging sees the warnings on stderr.

In every event ``seconds``, ``took`` and ``pause`` are seconds, ``token`` is a
fingerprint (8 hex digits of the SHA-256), and ``store`` is the ``repr`` of a store. No
field holds a secret.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import ClassVar

logger: logging.Logger = logging.getLogger("turvo_session")


@dataclass(frozen=True)
class LoggedIn:
    """A login gave a token that lives ``seconds``. The login took ``took`` seconds.

    ``reason``: ``"none"`` (no token was at hand), ``"due"``, ``"refused"`` (Turvo
    answered 401), or ``"asked"`` (by ``TurvoAuth.login``).
    """

    level: ClassVar[int] = logging.INFO

    token: str
    seconds: float
    took: float
    reason: str

    def __str__(self) -> str:
        because = _REASONS.get(self.reason, self.reason)
        return (
            f"logged in because {because}: token {self.token} lives "
            f"{self.seconds:.0f} s; the login took {self.took:.2f} s"
        )


@dataclass(frozen=True)
class LoginFailed:
    """A login, all its tries included, gave no token.

    ``kind``: ``"unreachable"``, ``"unavailable"``, ``"unanswered"``, ``"foreign"`` or
    ``"rejected"``. ``pause``: seconds until the next login is allowed.
    """

    level: ClassVar[int] = logging.WARNING

    why: str
    took: float
    kind: str = ""
    pause: float = 0.0

    def __str__(self) -> str:
        text = f"login failed after {self.took:.2f} s: {self.why}"
        if self.pause > 0:
            text += f"; the next one is allowed in {self.pause:.0f} s"
        return text


@dataclass(frozen=True)
class Adopted:
    """This process uses a token that another process stored."""

    level: ClassVar[int] = logging.INFO

    token: str
    seconds: float

    def __str__(self) -> str:
        return f"adopted token {self.token}, which lives {self.seconds:.0f} s more"


@dataclass(frozen=True)
class Refused:
    """Turvo answered 401 to a request with this token."""

    level: ClassVar[int] = logging.DEBUG

    token: str

    def __str__(self) -> str:
        return f"Turvo refused token {self.token} with a 401"


@dataclass(frozen=True)
class Replayed:
    """A request was sent again with another token. Turvo answered ``status``."""

    level: ClassVar[int] = logging.DEBUG

    token: str
    status: int

    def __str__(self) -> str:
        return f"sent the request again with token {self.token}: {self.status}"


@dataclass(frozen=True)
class Waited:
    """A call waited for another thread's or process's login."""

    level: ClassVar[int] = logging.DEBUG

    seconds: float

    def __str__(self) -> str:
        return f"waited {self.seconds:.2f} s for somebody else's login"


@dataclass(frozen=True)
class Forgotten:
    """A token was dropped because the script or an operator asked for it."""

    level: ClassVar[int] = logging.INFO

    token: str

    def __str__(self) -> str:
        return f"forgot token {self.token}"


@dataclass(frozen=True)
class StoreFailed:
    """A store cannot be used, and the calls go on without it. Told once an outage."""

    level: ClassVar[int] = logging.WARNING

    store: str
    why: str

    def __str__(self) -> str:
        server = "Redis" if "Redis" in self.store else "the store"
        return (
            f"{self.store} cannot be used ({self.why}): "
            f"every process logs in by itself until {server} works again"
        )


@dataclass(frozen=True)
class StoreRecovered:
    """The store works again."""

    # Whoever saw the warning of the outage has to see its end, too.
    level: ClassVar[int] = logging.WARNING

    store: str

    def __str__(self) -> str:
        return f"{self.store} works again: the token is shared"


@dataclass(frozen=True)
class ValueUnusable:
    """The store holds a value that this process cannot read as a token."""

    level: ClassVar[int] = logging.WARNING

    store: str

    def __str__(self) -> str:
        return (
            f"{self.store} holds a value that is not a readable token; the next login "
            "replaces it (check TURVO_TOKEN_KEY and TURVO_TOKEN_ENCRYPTION_KEYS)"
        )


Event = (
    LoggedIn
    | LoginFailed
    | Adopted
    | Refused
    | Replayed
    | Waited
    | Forgotten
    | StoreFailed
    | StoreRecovered
    | ValueUnusable
)
Listener = Callable[[Event], object]

_REASONS = {
    "none": "no token was at hand",
    "due": "the token was due",
    "refused": "the token was refused",
    "asked": "a login was asked for",
}


class EventQueue:
    """Passes events on to the log and to a listener, at once or after a block.

    ``listener``: called with every event in the thread that told it. If it raises an
    ``Exception``, the exception's name is logged and the work goes on.
    """

    def __init__(self, listener: Listener | None) -> None:
        self._listener = listener
        self._local = threading.local()

    def tell(self, event: Event) -> None:
        """Pass ``event`` on, inside of ``holding()`` only after the block."""
        held = self._held()
        if held is None:
            self._pass_on(event)
        else:
            held.append(event)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Hold back the events of this thread until the block ends, however it ends.

        A block inside of another one changes nothing. While a caller holds a lease, a
        slow listener would delay every other caller, and one that asks for a token
        would wait for itself.
        """
        if self._held() is not None:
            yield
            return
        held = _Held()
        try:
            self._local.held = weakref.ref(held)
            yield
        finally:
            self._local.held = None
            for event in held:
                self._pass_on(event)

    def _held(self) -> _Held | None:
        reference: weakref.ref[_Held] | None = getattr(self._local, "held", None)
        return reference() if reference is not None else None

    def _pass_on(self, event: Event) -> None:
        name = type(event).__name__
        extra = {f"turvo_{key}": value for key, value in asdict(event).items()}
        logger.log(event.level, "%s", event, extra={"turvo_event": name, **extra})
        if self._listener is None:
            return
        try:
            self._listener(event)
        except Exception as error:  # noqa: BLE001 - the listener is the user's code
            # Its text is not logged: it can hold anything.
            logger.warning("on_event raised %s for %s", type(error).__name__, name)


class _Held(list[Event]):
    """The events that a block holds back.

    Only the block refers to it strongly. If an interrupt keeps the block from cleaning
    up, its frame takes the list along, and the thread's next events are told again.
    """

    __slots__ = ("__weakref__",)
