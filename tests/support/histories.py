"""Clients by their credentials, and a store's memory of failed logins."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from turvo_session import failure as failures
from turvo_session.failure import (
    FOREIGN,
    REJECTED,
    UNANSWERED,
    UNREACHABLE,
    Attempt,
    Client,
    Failure,
    History,
    Record,
)
from turvo_session.store import Slot


def proof_of(user: str, salt: str = "salt") -> str:
    """Return the salted hash that stands for the credentials of ``user``."""
    return sha256(f"{salt} {user}".encode()).hexdigest()


def client(user: str = "us", process: str = "a", endpoint: str = "url") -> Client:
    """Return a process with the credentials of ``user``."""
    return Client(endpoint, process, lambda salt: proof_of(user, salt))


US = client()


class Memory:
    """The history in a store. Time passes by hand; every use reads the stored form."""

    def __init__(self) -> None:
        self.slot: Slot | None = None

    @property
    def history(self) -> History:
        """What the store remembers now."""
        return failures.load(self.slot)

    def note(
        self, kind: str, who: Client = US, *, ahead: bool = False, good: bool = False
    ) -> Record:
        """Add a failed login; ``good``: beside a token that Turvo had accepted."""
        attempts = int(kind in (UNANSWERED, FOREIGN, REJECTED))
        history, record = self.history.with_failure(
            Failure(kind, "why", attempts=attempts),
            who,
            salt="salt",
            ahead=ahead,
            had_token=good,
        )
        self.slot = history.slot()
        return record

    def pass_time(self, seconds: float) -> None:
        """Let the slot age as a store does."""
        assert self.slot
        left = self.slot.left - seconds
        self.slot = Slot(self.slot.value, left) if left > 0 else None

    def blocked(self, clients: list[Client]) -> list[bool]:
        """Return whether each client is kept from logging in."""
        return [bool(self.history.blocking(who)) for who in clients]


RECORDS = (
    Record(UNREACHABLE, "why: not", "url", 3, 40.0, 110.0, True, "a-1", "", True),
    Record(REJECTED, "", "url", 99, 0.0, 50.0, False, "", "ab" * 32, True),
)
ATTEMPTS = (Attempt("url", True, 900.0), Attempt("", False, 20.0))
FULL = History("salt", RECORDS, ATTEMPTS, 180.0, "1a2b3c4d", 60.0, 700.0, 1.0)
"""A history that has something of everything."""


def stored_form() -> dict[str, Any]:
    """Return what is stored of ``FULL``."""
    slot = FULL.slot()
    assert slot
    return dict(json.loads(slot.value))


def planted(left: float = 900.0, **fields: Any) -> History:
    """Return what is loaded of a value that somebody has changed by hand."""
    value = json.dumps(stored_form() | fields).encode()
    return failures.load(Slot(value, left))
