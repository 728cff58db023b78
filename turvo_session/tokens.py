"""A token is a value: a secret and the times of its life.

Times are seconds on the process's monotonic clock, so that a wall clock which jumps changes
nothing. Between processes a token travels as JSON, its life as the time to live of its key.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final, NoReturn

from .secret import Hidden, Secret
from .value import Value

DEFAULT_BUFFER = 300.0
LONGEST_LIFE = 30 * 86400.0
"""Seconds: whoever says that a token lives longer is not believed."""
# RFC 6750 section 2.1 would allow fewer characters (b64token); Turvo's are opaque, and what is
# visible and ASCII passes every HTTP stack unchanged. CR, LF, NUL and blanks do not.
_USABLE = re.compile(r"[\x21-\x7e]{1,8192}").fullmatch


def fingerprint(secret: str) -> str:
    """The first 8 hex digits of the SHA-256: names a token in a log without telling it."""
    return sha256(secret.encode(errors="surrogatepass")).hexdigest()[:8]


def usable(secret: object) -> bool:
    """Whether ``secret`` may go into a header: a string of 1 to 8192 visible ASCII characters."""
    return isinstance(secret, str) and _USABLE(secret) is not None


class Token(Value, Hidden):
    """A bearer token and its times.

    ``access_token`` is the secret. ``start`` is the monotonic moment, in seconds, from which
    ``life`` seconds are counted; in its last ``buffer`` seconds the token is *due*: still good,
    and somebody should get another.
    """

    __slots__ = ("_access_token", "buffer", "life", "start")
    __match_args__ = ("access_token", "start", "life", "buffer")

    def __init__(self, access_token: str, start: float, life: float, buffer: float) -> None:
        self._access_token: Secret[str] = Secret(access_token)
        del access_token  # tracebacks show locals
        texts = any(hasattr(seconds, "__len__") for seconds in (start, life, buffer))
        if texts or not isinstance(self.access_token, str):
            del start, life, buffer  # one of them may be the secret
            raise TypeError("access_token must be a string; start, life and buffer numbers of seconds")
        self.start: Final[float] = start
        self.life: Final[float] = life
        self.buffer: Final[float] = buffer

    @property
    def access_token(self) -> str:
        """The secret."""
        return self._access_token.reveal()

    @property
    def due(self) -> float:
        """The monotonic moment from which another token should be got."""
        return self.start + self.life - self.buffer

    @property
    def end(self) -> float:
        """The monotonic moment at which the token is over."""
        return self.start + self.life

    @property
    def fingerprint(self) -> str:
        """8 hex digits that name this token in logs."""
        return fingerprint(self.access_token)

    def seconds_left(self, now: float) -> float:
        """Seconds until the end, seen from the monotonic moment ``now``; never negative."""
        return max(0.0, self.end - now)

    def state(self, now: float) -> str:
        """``"fresh"``, then ``"due"``, then ``"expired"``."""
        return "fresh" if now < self.due else "due" if now < self.end else "expired"

    def __repr__(self) -> str:
        return f"<Token {self.fingerprint}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Token holds a secret and does not pickle; share it through a TokenStore")


def dump(token: Token, now: float) -> bytes:
    """The stored form: what existing scripts read at ``turvo:auth_token``, plus the buffer.

    ``expires_at`` is the moment at which the buffer begins; it serves those scripts only.
    """
    moment = datetime.now(UTC) + timedelta(seconds=token.due - now)
    value = {
        "access_token": token.access_token,
        "expires_at": moment.isoformat(),
        "buffer": token.buffer,
    }
    return json.dumps(value).encode()


def load(value: bytes, left: float, now: float) -> Token | None:
    """The token of a stored value with ``left`` seconds to live, or ``None`` if there is none in it."""
    fields = parse(value)
    secret = fields.get("access_token")
    if not isinstance(secret, str) or not usable(secret) or not left > 0:
        return None
    left = min(left, LONGEST_LIFE)
    buffer = number(fields.get("buffer"))
    if buffer is None:  # written by somebody else's script
        buffer = DEFAULT_BUFFER
    return Token(secret, now, left, min(buffer, LONGEST_LIFE))


def parse(value: bytes | str) -> dict[str, Any]:
    """The JSON object in ``value``; an empty one where there is none."""
    try:
        fields = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def number(value: object) -> float | None:
    """A finite number that is not negative, also when spelled as a string; else ``None``."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
