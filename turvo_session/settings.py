"""What is set, and whether it can be right: arguments and environment variables to values.

Every mistake is reported at once, by name, never with a value. Nothing here shows in a ``repr``,
since tracebacks can render the variables of the frames that they pass.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any, NoReturn

from requests import PreparedRequest, RequestException

from . import tokens
from .errors import SettingsError
from .grant import Credentials
from .origin import is_loopback, origin
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
class Settings:
    """The arguments of a ``TurvoAuth``."""

    base_url: str = ""
    api_key: str = ""
    username: str = ""
    password: str = ""
    client_id: str = "publicapi"
    client_secret: str = "secret"
    expiry_buffer: float = 300.0
    token_timeout: tuple[float, float] = (3.05, 10.0)
    store: object = None

    def check(self) -> None:
        """Raise ``SettingsError`` that names every argument that is missing or wrong."""
        _report(self.problems({}))

    def problems(self, names: Mapping[str, str]) -> list[str]:
        """What is wrong, each with the name of the setting as in ``names``."""
        found = []
        for field in VARIABLES:
            value, name = getattr(self, field), names.get(field, field)
            if not value or not isinstance(value, str):
                found.append(f"{name} is not set" if not value else f"{name} is no text")
            elif field == "base_url":
                found += [f"{name} {complaint}" for complaint in _complaints(value)]
            elif field == "api_key" and not tokens.usable(value):
                found.append(f"{name} holds a character that no header can carry (a line end or a blank?)")
        if not _seconds(self.expiry_buffer, least=0.0):
            found.append("expiry_buffer is no number of seconds, 0 or more")
        if not (
            isinstance(self.token_timeout, tuple)
            and len(self.token_timeout) == 2
            and all(_seconds(part, least=0.001) for part in self.token_timeout)
        ):
            found.append("token_timeout is no pair of seconds, to connect and to read, both above 0")
        if self.store is not None and not isinstance(self.store, TokenStore):
            found.append("store is no TokenStore; RedisStore.from_url(url, key) makes one")
        return found

    @property
    def normal_base_url(self) -> str:
        """The base URL as ``requests`` spells it, with ``/v1`` and without a slash at the end."""
        return _normal(self.base_url)

    @property
    def credentials(self) -> Credentials:
        """Who we are."""
        return Credentials(self.api_key, self.username, self.password, self.client_id, self.client_secret)

    @property
    def timeouts(self) -> tuple[float, float]:
        """Seconds to connect to the token endpoint, and to read from it."""
        return float(self.token_timeout[0]), float(self.token_timeout[1])

    @property
    def token_key(self) -> str:
        """The Redis key of these credentials' token: its hash tag keeps all our keys in one slot."""
        identity = f"{self.normal_base_url}\n{self.client_id}\n{self.username}"
        digest = sha256(identity.encode(errors="surrogatepass"))  # the environment may be no UTF-8
        return f"turvo:auth_token:{{{digest.hexdigest()[:12]}}}"

    def __repr__(self) -> str:
        return "<Settings>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("Settings are secret and do not pickle")


class Given:
    """What the environment and the overrides give: the arguments of a ``TurvoAuth``, or trouble."""

    def __init__(self, arguments: dict[str, Any], trouble: list[str]) -> None:
        self.arguments = arguments
        self._trouble = trouble

    def check(self) -> None:
        """Raise ``SettingsError`` that names every variable that is missing or wrong."""
        _report(self._trouble)

    def __repr__(self) -> str:
        return "<Given>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("what is given is secret and does not pickle")


def read(environ: Mapping[str, str], overrides: Mapping[str, Any]) -> Given:
    """Settings from environment variables; ``overrides`` are arguments of ``TurvoAuth``. Raises nothing."""
    found = {name: environ.get(variable) for name, variable in VARIABLES.items()}
    arguments: dict[str, Any] = {name: value for name, value in found.items() if value} | dict(overrides)
    arguments.setdefault("base_url", DEFAULT_BASE_URL)
    known = {field.name for field in fields(Settings)}
    settings = Settings(**{name: value for name, value in arguments.items() if name in known})
    trouble = settings.problems({name: var for name, var in VARIABLES.items() if name not in overrides})
    odd = [name for name in STORE_VARIABLES if not isinstance(environ.get(name, ""), str)]
    if odd:
        trouble += [f"{name} is no text" for name in odd]
    else:
        _read_store(environ, settings, arguments, trouble)
    return Given(arguments, trouble)


def _read_store(
    environ: Mapping[str, str], settings: Settings, arguments: dict[str, Any], trouble: list[str]
) -> None:
    """Put the store of the environment into the ``arguments``, unless they have one, or add to the ``trouble``."""
    url, keys = environ.get("REDIS_URL"), environ.get("TURVO_TOKEN_ENCRYPTION_KEYS")
    if not (url or keys):
        return
    from .redis_store import RedisStore
    from .sealing import Keyring, Sealing

    key = environ.get("TURVO_TOKEN_KEY") or ("" if trouble else settings.token_key)
    ring = Keyring(part.strip() for part in (keys or "").split(",") if part.strip())
    try:
        if ring.keys:
            Sealing(ring, key)
    except SettingsError as error:
        trouble.append(str(error))
        ring = Keyring(())  # the URL may be wrong as well
    if "store" in arguments:
        store = arguments["store"]
        if ring.keys and isinstance(store, RedisStore) and not store._sealing:
            trouble.append(
                "TURVO_TOKEN_ENCRYPTION_KEYS is set, but the store that was given seals nothing; "
                "make it with RedisStore(..., encryption_keys=...)"
            )
    elif url:
        try:
            arguments["store"] = RedisStore.from_url(url, key, encryption_keys=ring)
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


def _seconds(value: object, *, least: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value >= least
