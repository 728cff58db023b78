"""What is set, and whether it can be right: arguments and environment variables to values.

Every mistake is reported at once, by name, never with a value. Values are in a ``Secret`` throughout,
because error trackers keep the variables of the frames that an exception passes, and open them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any

from requests import PreparedRequest, RequestException

from . import tokens
from .errors import SettingsError
from .grant import Credentials
from .origin import is_loopback, origin
from .secret import Hidden, Secret
from .store import TokenStore

DEFAULT_BASE_URL = "https://publicapi.turvo.com/v1"

VARIABLES = {
    "base_url": "TURVO_BASE_URL",
    "api_key": "TURVO_API_KEY",
    "username": "TURVO_USERNAME",
    "password": "TURVO_PASSWORD",
    "client_id": "TURVO_CLIENT_ID",
    "client_secret": "TURVO_CLIENT_SECRET",
}
STORE_VARIABLES = ("REDIS_URL", "TURVO_TOKEN_KEY", "TURVO_TOKEN_ENCRYPTION_KEYS")

_DEFAULT_PORT = re.compile(r"\A(?:(https://[^/]+):443|(http://[^/]+):80)(?=/|\Z)")


@dataclass(frozen=True, slots=True, repr=False)
class _Values(Hidden):
    base_url: str = ""
    api_key: str = ""
    username: str = ""
    password: str = ""
    client_id: str = "publicapi"
    client_secret: str = "secret"
    expiry_buffer: float = 300.0
    token_timeout: tuple[float, float] = (3.05, 10.0)
    store: object = None


NAMES = frozenset(field.name for field in fields(_Values))


class Settings(Hidden):
    """The arguments of a ``TurvoAuth``, those of ``NAMES``."""

    __slots__ = ("_values",)

    def __init__(self, **values: Any) -> None:
        self._values: Secret[_Values] = Secret(_Values(**values))

    def check(self) -> None:
        """Raise ``SettingsError`` that names every argument that is missing or wrong."""
        _report(self.problems({}))

    def problems(self, names: Mapping[str, str]) -> list[str]:
        """What is wrong, each with the name of the setting as in ``names``."""
        found = []
        values = self._values.reveal
        for field in VARIABLES:
            value, name = getattr(values(), field), names.get(field, field)
            if not value or not isinstance(value, str):
                found.append(f"{name} is not set" if not value else f"{name} is no text")
            elif field == "base_url":
                found += [f"{name} {complaint}" for complaint in _complaints(value)]
            elif field == "api_key" and not tokens.usable(value):
                found.append(f"{name} holds a character that no header can carry (a line end or a blank?)")
            del value  # tracebacks show locals
        if not _seconds(values().expiry_buffer, least=0.0):
            found.append("expiry_buffer is no number of seconds, 0 or more")
        if not _pair(values().token_timeout):
            found.append("token_timeout is no pair of seconds, to connect and to read, both above 0")
        if not isinstance(values().store, TokenStore | None):
            found.append("store is no TokenStore; RedisStore.from_url(url, key) makes one")
        return found

    @property
    def normal_base_url(self) -> str:
        """The base URL as ``requests`` spells it, with ``/v1`` and without a slash at the end."""
        return _normal(self._values.reveal().base_url)

    @property
    def credentials(self) -> Credentials:
        """Who we are."""
        names = ("api_key", "username", "password", "client_id", "client_secret")
        return Credentials(*(getattr(self._values.reveal(), name) for name in names))

    @property
    def expiry_buffer(self) -> float:
        """Seconds of its life that a token has left when it is renewed."""
        return float(self._values.reveal().expiry_buffer)

    @property
    def store(self) -> TokenStore | None:
        """Where the token is shared."""
        store: Any = self._values.reveal().store
        return store  # type: ignore[no-any-return]

    @property
    def timeouts(self) -> tuple[float, float]:
        """Seconds to connect to the token endpoint, and to read from it."""
        connect, read = self._values.reveal().token_timeout
        return float(connect), float(read)

    @property
    def token_key(self) -> str:
        """The Redis key of these credentials' token: its hash tag keeps all our keys in one slot."""
        values = self._values.reveal
        identity = f"{self.normal_base_url}\n{values().client_id}\n{values().username}"
        digest = sha256(identity.encode(errors="surrogatepass"))  # the environment may be no UTF-8
        return f"turvo:auth_token:{{{digest.hexdigest()[:12]}}}"


class Given(Hidden):
    """What the environment and the overrides give: the arguments of a ``TurvoAuth``, or trouble."""

    def __init__(self, arguments: dict[str, Any], trouble: list[str]) -> None:
        self._arguments: Secret[dict[str, Any]] = Secret(arguments)
        self._trouble = trouble

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of a ``TurvoAuth``."""
        return self._arguments.reveal()

    def check(self) -> None:
        """Raise ``SettingsError`` that names every variable that is missing or wrong."""
        _report(self._trouble)


def read(environ: Secret[Mapping[str, str]], overrides: Secret[dict[str, Any]]) -> Given:
    """Settings from environment variables; ``overrides`` are arguments of ``TurvoAuth``. Raises nothing."""
    variables = environ.reveal
    if not hasattr(variables(), "get"):
        return Given({}, ["environ must be a mapping of strings to strings, such as os.environ"])
    found = {name: Secret(variables().get(variable)) for name, variable in VARIABLES.items()}
    arguments: Secret[dict[str, Any]] = Secret(
        {
            "base_url": DEFAULT_BASE_URL,
            **{name: value.reveal() for name, value in found.items() if value.reveal()},
            **overrides.reveal(),
        }
    )
    settings = Settings(**{name: value for name, value in arguments.reveal().items() if name in NAMES})
    trouble = settings.problems(
        {name: variable for name, variable in VARIABLES.items() if name not in overrides.reveal()}
    )
    odd = [name for name in STORE_VARIABLES if not isinstance(variables().get(name, ""), str)]
    if odd:
        trouble += [f"{name} is no text" for name in odd]
    else:
        _read_store(environ, settings, arguments, trouble)
    return Given(arguments.reveal(), trouble)


def _read_store(
    environ: Secret[Mapping[str, str]],
    settings: Settings,
    arguments: Secret[dict[str, Any]],
    trouble: list[str],
) -> None:
    """Put the store of the environment into the ``arguments``, unless they have one, or add to the ``trouble``."""
    url, keys = (Secret(environ.reveal().get(name)) for name in ("REDIS_URL", "TURVO_TOKEN_ENCRYPTION_KEYS"))
    if not (url.reveal() or keys.reveal()):
        return
    from .redis_store import RedisStore
    from .sealing import Keyring, Sealing

    key = environ.reveal().get("TURVO_TOKEN_KEY") or ("" if trouble else settings.token_key)
    ring = Keyring(part.strip() for part in (keys.reveal() or "").split(",") if part.strip())
    try:
        if ring.keys:
            Sealing(ring, key)
    except SettingsError as error:
        trouble.append(str(error))
        ring = Keyring(())  # the URL may be wrong as well
    if "store" in arguments.reveal():
        store = arguments.reveal()["store"]
        if ring.keys and isinstance(store, RedisStore) and not store._sealing:
            trouble.append(
                "TURVO_TOKEN_ENCRYPTION_KEYS is set, but the store that was given seals nothing; "
                "make it with RedisStore(..., encryption_keys=...)"
            )
    elif url.reveal():
        try:
            arguments.reveal()["store"] = RedisStore.from_url(url.reveal() or "", key, encryption_keys=ring)
        except SettingsError as error:
            trouble.append(str(error))


def _report(problems: list[str]) -> None:
    if problems:
        raise SettingsError("; ".join(problems))


def _complaints(base_url: str) -> list[str]:
    """What is wrong with a base URL."""
    try:
        parts = origin(_normal(base_url))
    except (RequestException, ValueError):
        parts = None
    if parts is None or re.search(r"[?#@\\]", base_url):
        return [f"is no plain https URL such as {DEFAULT_BASE_URL}"]
    if base_url.rstrip("/ ").lower().endswith("/oauth/token"):
        return [f"is the token endpoint's; what is wanted is the part before it, such as {DEFAULT_BASE_URL}"]
    if parts[0] == "http" and not is_loopback(parts[1]):
        return ["starts with http: the token would travel in clear; only loopback addresses may"]
    return []


def _normal(base_url: str) -> str:
    request = PreparedRequest()
    request.prepare_url(base_url.strip(), None)
    url = _DEFAULT_PORT.sub(r"\1\2", (request.url or "").rstrip("/"))
    return url if re.search(r"/v\d+\Z", url, re.IGNORECASE) else f"{url}/v1"


def _pair(value: object) -> bool:
    if not isinstance(value, tuple) or len(value) != 2:
        return False
    return all(_seconds(part, least=0.001) for part in value)


def _seconds(value: object, *, least: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value >= least
