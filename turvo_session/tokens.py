"""A token as a value: a secret and the times of its life.

Times are seconds on the process's monotonic clock, so that a wall clock that jumps
changes nothing. Between processes a token travels as JSON, and its life as the time to
live of its key.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from .secret import Hidden, Secret

DEFAULT_BUFFER = 300.0
"""Seconds before the end from which a token is renewed, unless the token says
otherwise."""
LONGEST_LIFE = 30 * 86400.0
"""Seconds that a token can live at most; a longer life is cut to this."""

# RFC 6750 section 2.1 allows fewer characters (b64token). Turvo's tokens are opaque,
# and every HTTP stack passes visible ASCII unchanged, unlike CR, LF, NUL and blanks.
_matches_header_value = re.compile(r"[\x21-\x7e]{1,8192}").fullmatch


def fingerprint(secret: str) -> str:
    """Return the first 8 hex digits of the SHA-256: a name for the token in logs."""
    # An error would hold the secret: name whatever a caller takes for a token.
    return sha256(str(secret).encode(errors="surrogatepass")).hexdigest()[:8]


def usable(secret: object) -> bool:
    """Return whether ``secret`` can go into a header.

    It must be a string of 1 to 8192 visible ASCII characters."""
    return isinstance(secret, str) and _matches_header_value(secret) is not None


class Token(Hidden):
    """A bearer token and its times.

    ``access_token`` is the secret. ``start`` is the moment, in seconds of the monotonic
    clock, from which ``life`` seconds are counted. In its last ``buffer`` seconds the
    token is *due*: Turvo still accepts it, and somebody should get the next one.
    """

    __slots__ = ("_secret", "buffer", "life", "start")

    def __init__(
        self, access_token: str, start: float, life: float, buffer: float
    ) -> None:
        self._secret = Secret(access_token)
        self.start: float = start
        self.life: float = life
        self.buffer: float = buffer

    @property
    def access_token(self) -> str:
        """The secret itself, as Turvo gave it."""
        return self._secret.reveal()

    @property
    def due(self) -> float:
        """The monotonic moment from which the next token should be got."""
        return self.start + self.life - self.buffer

    @property
    def end(self) -> float:
        """The monotonic moment at which the token expires."""
        return self.start + self.life

    @property
    def fingerprint(self) -> str:
        """8 hex digits that name this token in logs."""
        return fingerprint(self.access_token)

    def seconds_left(self, now: float) -> float:
        """Return the seconds left at the monotonic moment ``now``, at least 0."""
        return max(0.0, self.end - now)

    def state(self, now: float) -> str:
        """Return ``"fresh"``, ``"due"`` or ``"expired"``."""
        if now < self.due:
            return "fresh"
        return "due" if now < self.end else "expired"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Token):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        return f"<Token {self.fingerprint}>"

    def _values(self) -> tuple[Secret[str], float, float, float]:
        return self._secret, self.start, self.life, self.buffer


def same_secret(token: Token, other: Token | None) -> bool:
    """Return whether both tokens hold the same secret, whatever their times."""
    return other is not None and token._secret == other._secret


def dump(token: Token, now: float) -> bytes:
    """Return the stored form: what existing scripts read at ``turvo:auth_token``.

    ``expires_at`` is the moment at which the token is due. Only those scripts use it;
    between processes of this library the key's time to live counts.
    """
    due_at = datetime.now(UTC) + timedelta(seconds=token.due - now)
    fields = {
        "access_token": token.access_token,
        "expires_at": due_at.isoformat(),
        "buffer": token.buffer,
    }
    return json.dumps(fields).encode()


def load(value: bytes, left: float, now: float) -> Token | None:
    """Return the token in a stored ``value`` with ``left`` seconds to live.

    Returns ``None`` if the value holds no usable token.
    """
    fields = parse_object(value)
    secret = fields.get("access_token")
    if not isinstance(secret, str) or not usable(secret) or not left > 0:
        return None
    buffer = parse_seconds(fields.get("buffer"))
    if buffer is None:  # an existing script wrote it
        buffer = DEFAULT_BUFFER
    return Token(secret, now, min(left, LONGEST_LIFE), min(buffer, LONGEST_LIFE))


def parse_object(value: bytes | str) -> dict[str, Any]:
    """Return the JSON object in ``value``, or an empty one if it holds none."""
    try:
        fields = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def parse_seconds(value: object) -> float | None:
    """Return a finite number of seconds, 0 or more; ``None`` if ``value`` is not one.

    A number spelled as a string counts as one.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
