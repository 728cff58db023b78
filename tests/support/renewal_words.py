"""The words in which the tables of ``test_renewal`` are written, and their values."""

from __future__ import annotations

from typing import Any

from tests.support.histories import proof_of
from turvo_session import tokens
from turvo_session.failure import (
    REJECTED,
    UNANSWERED,
    UNAVAILABLE,
    UNREACHABLE,
    Attempt,
    Budget,
    Client,
    Failure,
    History,
    Record,
)
from turvo_session.renewal import Adopt, Ask, Fail, Got, Lead, Stay, Wait
from turvo_session.store import Slot, Snapshot
from turvo_session.tokens import Token

NOW = 1000.0
US, THEM = "us", "them"
ME, OTHER = b"0" * 16, b"f" * 16


def record(kind: str, left: float = 20.0, **more: Any) -> Record:
    """Return a failed login that applies for ``left`` more seconds."""
    return Record(kind, kind, "url", left=left, kept=2 * left + 30.0, **more)


def records(*records: Record) -> History:
    """Return what a store remembers of these."""
    return History(salt="salt", records=records)


# What a store can hold ...
FRESH = Token("fresh", NOW, 1000.0, 100.0)
NEW = Token("new", NOW, 43000.0, 300.0)
DUE = Token("due", NOW - 950.0, 1000.0, 100.0)
EXPIRED = Token("expired", 0.0, NOW, 0.0)
TOKENS: dict[str, Token | Slot] = {
    "fresh": FRESH,
    "new": NEW,
    "due": DUE,
    "due-too": Token("due-too", NOW - 940.0, 1000.0, 100.0),
    "script's": Slot(b'{"access_token": "script"}', 301.0),
    "script's due": Slot(b'{"access_token": "script"}', 299.0),
    "rubbish": Slot(b"rubbish", 99.0),
}
LEASES = {
    "led": Slot(OTHER, 12.0),
    "mine": Slot(ME, 12.0),
    "longest lease": Slot(OTHER, 180.0),
    "too long lease": Slot(OTHER, 180.1),
    "junk lease": Slot(b"me, the admin", 9.0),
    "empty lease": Slot(b"", 9.0),
}
HISTORIES: dict[str, History | Slot] = {
    "outage": records(record(UNAVAILABLE)),
    "outage over": records(record(UNAVAILABLE, 0.0, step=3)),
    "failed ahead": records(record(UNAVAILABLE, soft=True)),
    "hung": records(record(UNANSWERED, 0.0)),
    "believed": records(record(UNAVAILABLE))._replace(believed=0.5),
    "rejected": records(record(REJECTED, 800.0, proof=proof_of(US))),
    "they rejected": records(record(REJECTED, 800.0, proof=proof_of(THEM))),
    "they cut off": records(record(UNREACHABLE, process=THEM)),
    "all cut off": records(record(UNREACHABLE)),
    "spent": History(attempts=(Attempt("url", True, 500.0),) * 8),
    "held": History(hold=7.0),
    "doubt": History(doubted=tokens.fingerprint("fresh"), doubted_for=50.0),
    "doubt new": History(doubted=tokens.fingerprint("new"), doubted_for=50.0),
    "no allowance": History(refill=121.0),
    "junk": Slot(b"rubbish", 99.0),
}
# ... who can ask ...
ASKS: dict[str, dict[str, Any]] = {
    "": {},
    "beside due": {"spare": DUE},
    "beside expired": {"spare": EXPIRED},
    "not fresh, beside due": {"refused": FRESH, "spare": DUE},
    "not fresh": {"refused": FRESH},
    "not new": {"refused": NEW},
    "not due": {"refused": DUE},
    "fresh was refused": {"refused_before": (NEW, FRESH)},
    "due was refused": {"refused_before": (DUE,)},
    "not fresh, known good": {"refused": FRESH, "known_good": True},
    "not fresh, no login": {"refused": FRESH, "may_login": False},
    "forced": {"forced": True},
    "forced over it": {"forced": True, "over_budget": True},
}


# ... and what a login can come to.
OUTCOMES: dict[str, Any] = {
    "got": Got(NEW),
    "got fresh": Got(FRESH),
    "got expired": Got(EXPIRED),
    "adopt": Adopt(NEW),
    "adopt due": Adopt(DUE, 5.0),
    "failed": Failure(UNAVAILABLE, "POST answered 503"),
    "failed, due": Failure(UNAVAILABLE, "POST answered 503", spare=DUE),
    "failed late": Failure(UNAVAILABLE, "POST answered 503", spare=EXPIRED),
    "known": Fail(record(UNAVAILABLE)),
    "spent": Fail(Budget(True, 60.0)),
    "stay": Stay(),
}


def holding(words: str, **more: Any) -> Snapshot:
    """Return what a store holds at ``NOW``."""
    found = {**dict.fromkeys(["token", "lease", "failure"]), **more}
    for word in filter(None, words.split(", ")):
        if word in TOKENS:
            token = TOKENS[word]
            if isinstance(token, Token):
                token = Slot(tokens.dump(token, NOW), token.seconds_left(NOW))
            found["token"] = token
        elif word in LEASES:
            found["lease"] = LEASES[word]
        else:
            history = HISTORIES[word]
            found["failure"] = getattr(history, "slot", lambda: history)()  # noqa: B023
    return Snapshot(NOW, found["token"], found["lease"], found["failure"], None)


def asking(words: str = "") -> Ask:
    return Ask(
        ME, Client("url", US, lambda salt: proof_of(US, salt)), "salt", **ASKS[words]
    )


def told(step: object) -> str:
    """Return an answer of a rule in words; ``lead 3/2``: three tries, two may count."""
    match step:
        case Adopt(token, hold, doubted):
            text = f"adopt {token.access_token}"
            text += f" for {hold:g} s" if hold else ""
            return text + ", in doubt" if doubted else text
        case Got(token):
            return f"got {token.access_token}"
        case Lead(tries, may_count, spare):
            text = f"lead {tries}/{may_count}"
            return f"{text} beside {spare.access_token}" if spare else text
        case Wait(seconds):
            return f"wait {seconds:g} s"
        case Fail(Budget(rejected, left)):
            return f"spent {left:g} s" + ", rejected" * rejected
        case Fail(Record() as noted):
            return f"{noted.kind} {noted.left:g} s"
    return type(step).__name__.lower()


def rows_of(table: str) -> list[list[str]]:
    """Return the cells of a table."""
    lines = [line for line in table.strip().splitlines() if not line.startswith("#")]
    return [[cell.strip() for cell in line.split("|")] for line in lines]
