"""What happened, as frozen values: for the log, the counters and whoever listens. No secret in any.

``seconds`` are seconds; ``token`` is a fingerprint; ``store`` is the ``repr`` of a store.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass

logger: logging.Logger = logging.getLogger("turvo_session")
logger.addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A login gave a token that lives ``seconds``; it took ``took`` seconds.

    ``reason``: there was ``"none"``, or it was ``"due"``, or it was ``"refused"`` with a 401.
    """

    token: str
    seconds: float
    took: float
    reason: str


@dataclass(frozen=True, slots=True)
class LoginFailed:
    """A login, all its attempts, gave none."""

    why: str
    took: float


@dataclass(frozen=True, slots=True)
class Adopted:
    """A token that another process stored is used from now on."""

    token: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Refused:
    """Turvo answered 401 to a request with this token."""

    token: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """A request was sent again with another token, and answered with ``status``."""

    token: str
    status: int


@dataclass(frozen=True, slots=True)
class Waited:
    """A call waited for somebody else's login."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A token was dropped on request."""

    token: str


@dataclass(frozen=True, slots=True)
class StoreFailed:
    """A store cannot be used; the work goes on without it. Told once an outage."""

    store: str
    why: str


@dataclass(frozen=True, slots=True)
class StoreRecovered:
    """The store can be used again."""

    store: str


@dataclass(frozen=True, slots=True)
class ValueUnusable:
    """The store holds something that is no token, and is swapped for one."""

    store: str


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

_SAID = {
    LoggedIn: (
        logging.INFO,
        "logged in (token %(reason)s): token %(token)s, good for %(seconds).0f s, took %(took).2f s",
    ),
    LoginFailed: (logging.WARNING, "login failed after %(took).2f s: %(why)s"),
    Adopted: (logging.INFO, "adopted token %(token)s, good for %(seconds).0f s"),
    Refused: (logging.DEBUG, "token %(token)s was refused with a 401"),
    Replayed: (logging.DEBUG, "request sent again with token %(token)s: %(status)d"),
    Waited: (logging.DEBUG, "waited %(seconds).2f s for a login"),
    Forgotten: (logging.INFO, "token %(token)s forgotten"),
    StoreFailed: (logging.WARNING, "%(store)s cannot be used (%(why)s): going on without it"),
    StoreRecovered: (logging.INFO, "%(store)s can be used again"),
    ValueUnusable: (logging.WARNING, "%(store)s holds a value that is no token: to be replaced"),
}


def log(event: Event) -> None:
    """One line an event, the fields in ``extra`` beside ``event``, the name of its class."""
    level, text = _SAID[type(event)]
    fields = asdict(event)
    logger.log(level, text, fields, extra={"event": type(event).__name__, **fields})


def tell(listener: Listener | None, event: Event) -> None:
    """Log the event and hand it to the listener; one that raises does not stop the work."""
    log(event)
    if listener is not None:
        try:
            listener(event)
        except Exception as error:  # noqa: BLE001 - a listener is somebody else's code
            logger.warning("on_event raised %s for %s", type(error).__name__, type(event).__name__)
