"""Failed logins as values: what a failure means, whom it concerns, and for how long.

Turvo locks an account after ten wrong passwords, and a hundred callers without a token
must not make a hundred failing logins. So a store remembers the failed logins since the
last token in a ``History``: a short list of records, and when the last requests failed
that Turvo may have counted as wrong passwords. The rules:

===========  =======================================  =========  =======================
kind         what happened                            may count  concerns
===========  =======================================  =========  =======================
unreachable  no connection to the token endpoint      no         the process that met
                                                                 it, or all processes
                                                                 once a second one has
unavailable  408, 425, 429, 502, 503                  no         every process
unanswered   sent, but no whole answer; other 5xx     yes        every process
foreign      an answer of another server than Turvo   yes        every process
rejected     Turvo refused the credentials            yes        the same credentials
===========  =======================================  =========  =======================

A failure never concerns a process with another token URL. Times in a stored history are
seconds before the end of its slot, because the store's time to live is the only clock
that all processes share.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from hmac import compare_digest
from typing import Any, NamedTuple

from . import tokens
from .errors import (
    CredentialsRejected,
    InvalidTokenResponse,
    TokenEndpointUnavailable,
    TurvoAuthError,
)
from .store import Slot

UNREACHABLE = "unreachable"
UNAVAILABLE = "unavailable"
UNANSWERED = "unanswered"
FOREIGN = "foreign"
REJECTED = "rejected"

PAUSES: dict[str, tuple[float, ...]] = {
    UNREACHABLE: (5, 10, 20, 40, 60),
    UNAVAILABLE: (5, 10, 20, 40, 60),
    UNANSWERED: (15, 30, 60, 120, 240),
    FOREIGN: (15, 30, 60, 120, 240),
    # The first pause is for a first rejection beside a token that Turvo had accepted.
    REJECTED: (60, 900, 1800, 3600, 7200, 14400, 28800, 57600, 86400),
}
"""Seconds until the next login after the first failure of a kind, the second, and so
on."""
PAUSES_AHEAD = (30.0, 60.0, 120.0, 240.0)
"""The same for a renewal ahead of time, while the old token still serves."""
LONGEST_RETRY_AFTER = 900.0
"""The longest ``Retry-After`` in seconds that is respected."""
REMEMBERED_LONGER = 30.0
"""Seconds that the next login can take: a record outlasts it, so that its step is
known."""

MOST_RECORDS = 8
COUNTED_FOR = 900.0
"""Seconds for which a wrong password counts: Turvo's lock of an account lasts as
long."""
MOST_ATTEMPTS = 8
"""Wrong passwords within that time that we allow: Turvo locks at the tenth."""
MOST_ATTEMPTS_OF_ALL = 24
"""Attempts that are remembered, of all token URLs together."""

LOGIN_COST = 60.0
"""Seconds until the fleet has earned one more login because of a 401."""
MOST_LOGINS_AT_ONCE = 3
"""Logins because of a 401 that the fleet can make at once."""
DOUBTED_FOR = 60.0
"""Seconds for which a token is in doubt that was got because of a 401."""
LONGEST_HOLD = 900.0
"""Seconds for which the threads of a process leave a due token alone at most."""
BELIEVED_FOR = 1.0
"""Seconds for which a process believes its copy of a record without asking the
store."""
LONGEST_KEPT = 2 * PAUSES[REJECTED][-1] + REMEMBERED_LONGER
"""Seconds for which a history is stored at most."""
LONGEST_TEXT = 200
TOLERANCE = 1.0
"""Seconds by which a stored time may exceed its bound: clocks and floats round."""

_is_plain_text = re.compile(r"[\x20-\x7e]{0,200}").fullmatch
_is_plain_word = re.compile(r"[\x21-\x7e]{0,128}").fullmatch


class Failure(NamedTuple):
    """Why a login gave no token.

    ``why`` is text without a secret. ``retry_after`` is what the server asked for, in
    seconds. ``attempts`` is how many requests Turvo may have counted as wrong
    passwords. ``took`` is the length of the login in seconds. ``spare`` is a due
    token that serves: the one to be replaced, or one that was found after the login.
    """

    kind: str
    why: str
    retry_after: float | None = None
    attempts: int = 0
    took: float = 0.0
    spare: tokens.Token | None = None


class Client(NamedTuple):
    """The process that asks: its token URL (as a hash), its name, and its credentials.

    ``proof(salt)`` returns a salted hash that shows whether a stored rejection concerns
    these credentials.
    """

    endpoint: str
    process: str
    proof: Callable[[str], str] = str


class Record(NamedTuple):
    """A failed login as it is remembered.

    ``step`` tells which of the pauses of its kind it has: it grows with each failure of
    that kind that is still remembered. The record applies for ``left`` more seconds and
    is remembered for ``kept``. ``soft``: it was a renewal ahead of time, so it ends
    with the old token. ``process`` is the only process that it concerns, if there is
    one; ``proof`` shows whose credentials were rejected.
    """

    kind: str
    why: str
    endpoint: str
    step: int = 0
    left: float = 0.0
    kept: float = 0.0
    soft: bool = False
    process: str = ""
    proof: str = ""
    reported: bool = False
    """Whether the text was read from a store, where anybody may have written it."""

    def error(self) -> TurvoAuthError:
        """Return the exception to raise in a caller that gets no token."""
        text = f"{_HEADLINES[self.kind]} ({self._reason()}). {_ADVICE[self.kind]}"
        again = f"{text} The next login is allowed in {_duration(self.left)}."
        if self.kind == REJECTED:
            return CredentialsRejected(
                f"{again} Changed credentials are tried at once. "
                "'turvo-session login' tries the same ones now."
            )
        if self.kind == FOREIGN:
            return InvalidTokenResponse(again)
        return TokenEndpointUnavailable(again, retry_after=self.left)

    def _reason(self) -> str:
        if self.reported:
            return f"recorded as {self.why!r}"
        return self.why


_HEADLINES = {
    UNREACHABLE: "The token endpoint cannot be reached",
    UNAVAILABLE: "The token endpoint is not available",
    UNANSWERED: "The token endpoint gave no answer to a login",
    FOREIGN: "The answer to a login is not from Turvo's token endpoint",
    REJECTED: "Turvo rejected the credentials",
}
_ADVICE = {
    UNREACHABLE: "Check TURVO_BASE_URL, the network and the proxy settings.",
    UNAVAILABLE: "If this lasts, check TURVO_BASE_URL and ask Turvo.",
    UNANSWERED: "If this lasts, check TURVO_BASE_URL, the network and the proxies.",
    FOREIGN: "Check TURVO_BASE_URL, and whether a proxy or a firewall answers instead.",
    REJECTED: (
        "Check TURVO_USERNAME, TURVO_PASSWORD, TURVO_API_KEY and, if set, "
        "TURVO_CLIENT_ID and TURVO_CLIENT_SECRET. Turvo locks an account after ten "
        "wrong passwords, so the same credentials have to wait."
    ),
}


class Attempt(NamedTuple):
    """A token request that Turvo may have counted, for ``left`` more seconds."""

    endpoint: str
    rejected: bool
    left: float


class Budget(NamedTuple):
    """The budget of eight attempts is spent, for ``left`` more seconds."""

    rejected: bool
    left: float

    def error(self) -> TurvoAuthError:
        """Return the exception to raise in a caller that would have to log in."""
        text = (
            f"{MOST_ATTEMPTS} token requests within 15 minutes may have counted as "
            "wrong passwords. Turvo locks an account after ten, so no process logs in "
            f"for {_duration(self.left)}. Check the credentials; 'turvo-session login "
            "--force' logs in anyway, and 'turvo-session forget' clears the count."
        )
        if self.rejected:
            return CredentialsRejected(text)
        return TokenEndpointUnavailable(text, retry_after=self.left)


class History(NamedTuple):
    """What a store remembers beside the token and the lease.

    ``salt`` is for the proofs of all records. ``refill`` is the number of seconds after
    which the fleet may again make three logins at once because of a 401. ``doubted`` is
    the fingerprint of a token that was got because of a 401 and has not been accepted
    yet. ``hold``: seconds for which threads leave a due token alone. ``believed``:
    seconds for which a copy of another store's record counts without a look there.
    """

    salt: str = ""
    records: tuple[Record, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    refill: float = 0.0
    doubted: str = ""
    doubted_for: float = 0.0
    hold: float = 0.0
    believed: float = 0.0

    def with_failure(
        self,
        failure: Failure,
        client: Client,
        *,
        salt: str,
        ahead: bool,
        had_token: bool,
    ) -> tuple[History, Record]:
        """Add a failed login of ``client``; return the new history and the record.

        ``ahead``: it was a renewal ahead of time. ``had_token``: there was a token that
        Turvo had accepted. ``salt`` is used unless the history has one already.
        """
        salt = self.salt or salt
        new = Record(failure.kind, failure.why, client.endpoint)
        if failure.kind == REJECTED:
            new = new._replace(proof=client.proof(salt))
        if failure.kind == UNREACHABLE:
            new = new._replace(process=self._only_process(client))
        step = self._next_step(new, had_token=had_token)
        pause, soft = _pause(new.kind, step, ahead=ahead)
        asked = failure.retry_after if failure.kind == UNAVAILABLE else 0.0
        left = max(pause, min(asked or 0.0, LONGEST_RETRY_AFTER))
        new = new._replace(
            step=step,
            left=left,
            kept=2 * left + REMEMBERED_LONGER,
            soft=soft and left == pause,
        )
        others = [old for old in self.records if not _replaces(new, old)]
        counted = Attempt(client.endpoint, failure.kind == REJECTED, COUNTED_FOR)
        attempts = (*self.attempts, *[counted] * failure.attempts)
        history = self._replace(
            salt=salt,
            records=(*others, new)[-MOST_RECORDS:],
            attempts=attempts[-MOST_ATTEMPTS_OF_ALL:],
        )
        return history, new

    def with_attempt(self, client: Client) -> History:
        """Add an attempt that ``client`` is about to make."""
        counted = Attempt(client.endpoint, False, COUNTED_FOR)
        attempts = (*self.attempts, counted)[-MOST_ATTEMPTS_OF_ALL:]
        return self._replace(attempts=attempts)

    def with_copy(self, record: Record, seconds: float) -> History:
        """Add a copy of another store's record, which is believed for ``seconds``."""
        others = [old for old in self.records if not _replaces(record, old)]
        records = (*others, record)[-MOST_RECORDS:]
        return self._replace(records=records, believed=seconds)

    def concerns(self, record: Record, client: Client) -> bool:
        """Return whether ``record`` is about ``client`` and still applies."""
        if record.left <= 0 or record.endpoint != client.endpoint:
            return False
        if record.kind == UNREACHABLE:
            return record.process in ("", client.process)
        if record.kind == REJECTED:
            return self._proves(record, client)
        return True

    def blocking(self, client: Client) -> Record | None:
        """Return the record that keeps ``client`` from logging in for longest."""
        found = [
            record
            for record in self.records
            if not record.soft and self.concerns(record, client)
        ]
        return max(found, key=lambda record: record.left, default=None)

    def delay_of_due(self, client: Client) -> float:
        """Return the seconds for which ``client`` leaves a due token alone."""
        delays = [one.left for one in self.records if self.concerns(one, client)]
        return max(self.hold, *delays, 0.0)

    def attempts_of(self, client: Client) -> list[Attempt]:
        """Return the attempts at the client's token URL that still count."""
        return [one for one in self.attempts if one.endpoint == client.endpoint]

    def spent_budget(self, client: Client, *, under_way: int = 0) -> Budget | None:
        """Return the budget if ``client`` may make no further attempt.

        ``under_way`` is the number of attempts that another login may make meanwhile.
        """
        last = self.attempts_of(client)[-MOST_ATTEMPTS:]
        if not last or len(last) + under_way < MOST_ATTEMPTS:
            return None
        return Budget(any(one.rejected for one in last), min(one.left for one in last))

    def tries(self, client: Client, *, ahead: bool) -> tuple[int, int]:
        """Return how often a login of ``client`` may try, and how often it may count.

        A login gets one try ahead of time, and while Turvo is unreachable for another
        process. An endpoint that gives no answer gets a second try the first time only.
        """
        here = [one for one in self.records if one.endpoint == client.endpoint]
        unreachable = any(one.kind == UNREACHABLE and one.left > 0 for one in here)
        known_to_hang = any(one.kind == UNANSWERED for one in here)
        left = max(1, MOST_ATTEMPTS - len(self.attempts_of(client)))
        return (1 if ahead or unreachable else 3), min(1 if known_to_hang else 2, left)

    def doubts(self, token: tokens.Token) -> bool:
        """Return whether ``token`` was got because of a 401 and is not accepted yet."""
        return self.doubted_for > 0 and self.doubted == token.fingerprint

    def allows_login_after_401(self) -> bool:
        """Return whether the fleet may make a login because of a 401 now."""
        return self.refill <= LOGIN_COST * (MOST_LOGINS_AT_ONCE - 1)

    def refill_after_login(self) -> float:
        """Return ``refill`` after one more login because of a 401."""
        return min(self.refill, LOGIN_COST * (MOST_LOGINS_AT_ONCE - 1)) + LOGIN_COST

    def slot(self) -> Slot | None:
        """Return the stored form; ``None`` if there is nothing to remember."""
        ends = [self.refill, self.doubted_for, self.hold, self.believed]
        ends += [record.kept for record in self.records]
        ends += [attempt.left for attempt in self.attempts]
        end = max(ends)
        if end <= 0:
            return None
        value = {
            "salt": self.salt,
            "records": [_dump_record(record, end) for record in self.records],
            "attempts": [
                [one.endpoint, one.rejected, end - one.left] for one in self.attempts
            ],
            "refill": end - self.refill,
            "doubted": [self.doubted, end - self.doubted_for],
            "hold": end - self.hold,
            "believed": end - self.believed,
        }
        return Slot(json.dumps(value).encode(), end)

    def _next_step(self, new: Record, *, had_token: bool) -> int:
        """Return how many failures of the same kind went before ``new``."""
        earlier = [
            old
            for old in self.records
            if (old.kind, old.endpoint) == (new.kind, new.endpoint)
        ]
        if new.kind != REJECTED:
            return max((old.step for old in earlier), default=-1) + 1
        # Gateways are known to refuse once for no reason, and a rejection of other
        # credentials is no evidence against these.
        if had_token and all(old.proof != new.proof for old in earlier):
            return 0
        return max((old.step for old in earlier), default=0) + 1

    def _only_process(self, client: Client) -> str:
        """Return the client's name, or "" if Turvo is unreachable for others too."""
        known = [
            record.process
            for record in self.records
            if record.kind == UNREACHABLE and record.endpoint == client.endpoint
        ]
        return client.process if all(one == client.process for one in known) else ""

    def _proves(self, record: Record, client: Client) -> bool:
        proof = client.proof(self.salt) if self.salt else ""
        return proof != "" and compare_digest(proof, record.proof)


def load(slot: Slot | None) -> History:
    """Return the history in ``slot``.

    Anybody who can write to the store can plant a value. What has the wrong shape, or
    would apply for longer than this module ever writes, is left out.
    """
    if slot is None or slot.left > LONGEST_KEPT + TOLERANCE:
        return History()
    fields = tokens.parse_object(slot.value)
    doubted, doubted_for = _pair(fields.get("doubted"))
    end = slot.left
    records = (_load_record(one, end) for one in _items(fields, "records"))
    attempts = (_load_attempt(one, end) for one in _items(fields, "attempts"))
    return History(
        salt=_word(fields.get("salt")),
        records=tuple(one for one in records if one)[-MOST_RECORDS:],
        attempts=tuple(one for one in attempts if one)[-MOST_ATTEMPTS_OF_ALL:],
        refill=_left(fields.get("refill"), end, LOGIN_COST * MOST_LOGINS_AT_ONCE),
        doubted=_word(doubted),
        doubted_for=_left(doubted_for, end, DOUBTED_FOR),
        hold=_left(fields.get("hold"), end, LONGEST_HOLD),
        believed=_left(fields.get("believed"), end, BELIEVED_FOR),
    )


def _pause(kind: str, step: int, *, ahead: bool) -> tuple[float, bool]:
    """Return the seconds until the next login, and whether they end with the token."""
    pause = _at(PAUSES[kind], step)
    if not ahead:
        return pause, False
    if kind != REJECTED:
        return _at(PAUSES_AHEAD, step), True
    return (min(pause, PAUSES_AHEAD[0]), True) if step == 0 else (pause, False)


def _replaces(new: Record, old: Record) -> bool:
    """Return whether ``new`` takes the place of ``old`` in a list of records."""
    return (new.kind, new.endpoint, new.proof) == (old.kind, old.endpoint, old.proof)


def _at(pauses: tuple[float, ...], step: int) -> float:
    return pauses[min(step, len(pauses) - 1)]


def _dump_record(record: Record, end: float) -> dict[str, Any]:
    return {
        "kind": record.kind,
        "why": record.why[:LONGEST_TEXT],
        "endpoint": record.endpoint,
        "step": record.step,
        "left": end - record.left,
        "kept": end - record.kept,
        "soft": record.soft,
        "process": record.process,
        "proof": record.proof,
    }


def _load_record(fields: object, end: float) -> Record | None:
    if not isinstance(fields, dict):
        return None
    kind, step = fields.get("kind"), fields.get("step")
    if not isinstance(kind, str) or kind not in PAUSES:
        return None
    if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step <= 99:
        return None
    longest = max(PAUSES[kind][-1], PAUSES_AHEAD[-1])
    if kind == UNAVAILABLE:
        longest = LONGEST_RETRY_AFTER
    kept = _left(fields.get("kept"), end, 2 * longest + REMEMBERED_LONGER)
    if not kept:
        return None
    return Record(
        kind=kind,
        why=_word(fields.get("why"), spaces=True),
        endpoint=_word(fields.get("endpoint")),
        step=step,
        left=_left(fields.get("left"), end, longest),
        kept=kept,
        soft=fields.get("soft") is True,
        process=_word(fields.get("process")),
        proof=_word(fields.get("proof")),
        reported=True,
    )


def _load_attempt(fields: object, end: float) -> Attempt | None:
    if not isinstance(fields, list) or len(fields) != 3:
        return None
    left = _left(fields[2], end, COUNTED_FOR)
    return Attempt(_word(fields[0]), fields[1] is True, left) if left else None


def _items(fields: dict[str, Any], name: str) -> list[Any]:
    items = fields.get(name)
    return items if isinstance(items, list) else []


def _pair(value: object) -> tuple[object, object]:
    if isinstance(value, list) and len(value) == 2:
        return value[0], value[1]
    return "", None


def _left(before_end: object, end: float, longest: float) -> float:
    """Return the seconds left of a time that is stored as seconds ``before_end``."""
    seconds = tokens.parse_seconds(before_end)
    left = 0.0 if seconds is None else end - seconds
    return left if 0 < left <= longest + TOLERANCE else 0.0


def _word(value: object, *, spaces: bool = False) -> str:
    """Return ``value`` if it is short printable ASCII text, else ""."""
    matches = _is_plain_text if spaces else _is_plain_word
    return value if isinstance(value, str) and matches(value) else ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
