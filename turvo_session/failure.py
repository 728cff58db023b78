"""A failure is a value too: why no token could be had, and how long that binds everybody.

It is kept beside the token, so that a hundred waiters do not make a hundred failing logins. Its
JSON holds no secret; ``why`` is made by ``grant`` of fixed words, a status and an error's name.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from . import tokens
from .errors import (
    CredentialsRejected,
    InvalidTokenResponse,
    TokenEndpointUnavailable,
    TurvoAuthError,
)
from .store import Slot

REJECTED, THROTTLED, UNAVAILABLE, INVALID = "rejected", "throttled", "unavailable", "invalid"
BUSY = "busy"  # somebody renews the token already: go on with the old one
UNPROVEN = "unproven"  # no failure yet: a token that was got because of a 401, and has not cured it

LOCKOUT = 900.0
"""Seconds for which rejected credentials are left alone: Turvo's lock of an account lasts as long."""
RETRY_AFTER_CAP = 900.0
"""The longest ``Retry-After`` that is believed, in seconds."""
UNPROVEN_FOR = 60.0
"""Seconds between two logins for a 401 that no token cures."""

_PLAIN = re.compile(r"[\x20-\x7e]{0,200}").fullmatch


class Failure(NamedTuple):
    """Why, and for how long.

    ``left``: seconds for which it binds. ``step``: how many went before it in a row. ``soft``:
    it befell a renewal ahead of time, and is void once the old token is over. ``proof``: of which
    credentials it speaks (``rejected``). ``token``: fingerprint of the one in doubt (``unproven``).
    ``retry_after``: what the server asked for, in seconds.
    """

    kind: str
    why: str = ""
    left: float = 0.0
    soft: bool = False
    step: int = 0
    proof: str = ""
    token: str = ""
    retry_after: float | None = None

    @property
    def transient(self) -> bool:
        """Whether another try soon may work."""
        return self.kind in (THROTTLED, UNAVAILABLE)

    def error(self) -> TurvoAuthError:
        """The failure as a new exception, to be raised to one caller."""
        again = f"{self.left:.0f} s"
        if self.kind == REJECTED:
            return CredentialsRejected(
                f"{self.why}. Check TURVO_USERNAME, TURVO_PASSWORD, TURVO_API_KEY and, if set, "
                f"TURVO_CLIENT_ID and TURVO_CLIENT_SECRET. No process that shares this token tries the same "
                f"credentials again for {again}, since Turvo locks an account after ten wrong passwords; "
                f"changed ones are tried at once."
            )
        if self.kind == INVALID:
            return InvalidTokenResponse(
                f"{self.why}. Check TURVO_BASE_URL; if it is right, tell Turvo. Next try in {again}."
            )
        return TokenEndpointUnavailable(
            f"{self.why}. Nobody who shares this token asks again for {again}. If it lasts, check "
            f"TURVO_BASE_URL, the network and its proxies.",
            retry_after=self.left,
        )


def back_off(failure: Failure, before: Failure | None, *, ahead: bool) -> Failure:
    """``failure`` with the seconds that it binds, given the one ``before`` it in the store.

    Of a renewal ``ahead`` of time: 30 s, doubling, and *soft*. Otherwise 5 s, doubling to 60 s. Rejected
    credentials: 15 minutes. Never less than the server's own ``Retry-After``, and what goes beyond our own
    pause because of that is not soft: the server does not want to be asked, whatever we have left.
    """
    if failure.kind == REJECTED:
        return failure._replace(left=LOCKOUT)
    in_a_row = before and before.kind in (THROTTLED, UNAVAILABLE, INVALID) and before.soft is ahead
    step = before.step + 1 if before and in_a_row else 0
    pause = min(30.0 * 2**step, 240.0) if ahead else min(5.0 * 2**step, 60.0)
    asked = failure.retry_after or 0.0
    return failure._replace(left=max(pause, asked), soft=ahead and asked <= pause, step=step)


def dump(failure: Failure, seconds: float | None = None) -> Slot:
    """The stored form, to be kept for ``seconds``.

    Unless told, a back-off is kept for as long again as it binds, so that its next step is known.
    """
    if seconds is None:
        seconds = failure.left * (1 if failure.kind in (REJECTED, BUSY, UNPROVEN) else 2)
    fields = {
        key: value
        for key, value in failure._replace(why=failure.why[:200])._asdict().items()
        if value != Failure._field_defaults.get(key, "") and key not in ("left", "retry_after")
    }
    return Slot(json.dumps({**fields, "over": seconds - failure.left}).encode(), seconds)


def load(slot: Slot | None) -> Failure | None:
    """The failure in a slot; ``None`` if there is none, or one that cannot be read.

    ``over`` is what is left of the slot when the failure ceases to bind: then its ``left`` is 0, and it
    still tells its ``step``.
    """
    fields = tokens.parse(slot.value) if slot else {}
    kind, over, step = fields.get("kind"), fields.get("over"), fields.get("step", 0)
    words = [fields.get(key, "") for key in ("why", "proof", "token")]
    if slot is None or not isinstance(over, float) or not isinstance(step, int) or not isinstance(kind, str):
        return None
    if not all(isinstance(word, str) and _PLAIN(word) for word in words):
        return None
    left = min(max(0.0, slot.left - over), LOCKOUT)
    return Failure(kind, words[0], left, fields.get("soft") is True, min(abs(step), 16), *words[1:])
