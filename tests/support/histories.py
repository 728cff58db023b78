"""Clients by their credentials, and a store's memory of failed logins."""

from __future__ import annotations

from hashlib import sha256

from turvo_session import failure as failures
from turvo_session.failure import (
    FOREIGN,
    REJECTED,
    UNANSWERED,
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
