"""Settings: what is set, and what is wrong with it.

``Settings`` holds the arguments of a ``TurvoAuth``. ``read`` makes one from environment
variables. Neither raises: ``Settings.check()`` reports every mistake at once, by the
name of the argument or variable and never with its value. Every value is kept in a
``Secret``, because error trackers show the variables of the frames that an exception
passes.

Container images hand over secrets as files. So each variable in ``FILE_VARIABLES`` can
also be set by a variable with ``_FILE`` at the end of its name, which holds the path of
a file. One line end at the end of the file is cut.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import urlsplit

from requests import PreparedRequest, RequestException

from . import tokens
from .errors import SettingsError
from .login import Credentials, TlsOptions, raised_by_signal_handler
from .origin import is_loopback, origin
from .secret import Hidden, Secret
from .store import TokenStore

if TYPE_CHECKING:
    from .events import Listener
    from .sealing import Keyring

DEFAULT_BASE_URL = "https://publicapi.turvo.com/v1"

VARIABLES = {
    "base_url": "TURVO_BASE_URL",
    "api_key": "TURVO_API_KEY",
    "username": "TURVO_USERNAME",
    "password": "TURVO_PASSWORD",
    "client_id": "TURVO_CLIENT_ID",
    "client_secret": "TURVO_CLIENT_SECRET",
}
"""The variable of each argument that the environment can set."""
STORE_VARIABLES = ("REDIS_URL", "TURVO_TOKEN_KEY", "TURVO_TOKEN_ENCRYPTION_KEYS")
"""The variables that together make a ``RedisStore``."""
FILE_VARIABLES = (
    "TURVO_API_KEY",
    "TURVO_PASSWORD",
    "TURVO_CLIENT_SECRET",
    "REDIS_URL",
    "TURVO_TOKEN_ENCRYPTION_KEYS",
)
"""The variables whose value can also be in a file."""
ALL_VARIABLES = (
    *VARIABLES.values(),
    *STORE_VARIABLES,
    *(f"{variable}_FILE" for variable in FILE_VARIABLES),
)
"""Every variable that ``read`` looks at."""

LARGEST_FILE = 65536
"""Bytes that a file with a setting can have at most."""


class AuthOptions(TypedDict, total=False):
    """The arguments of ``TurvoAuth``, each of which ``from_env`` takes as well."""

    base_url: str
    api_key: str
    username: str
    password: str | Callable[[], str]
    client_id: str
    client_secret: str
    store: TokenStore | None
    expiry_buffer: float
    token_timeout: tuple[float, float]
    on_event: Listener | None
    verify: bool | str
    cert: str | tuple[str, str] | None
    proxies: Mapping[str, str] | None


_DEFAULTS: dict[str, Any] = {
    "client_id": "publicapi",
    "client_secret": "secret",
    "expiry_buffer": 300.0,
    "token_timeout": (3.05, 10.0),
    "verify": True,
}


class Settings(Hidden):
    """The arguments of a ``TurvoAuth``, and what is wrong with them.

    Making one raises nothing. ``check()`` raises a ``SettingsError`` that names every
    mistake. Read the properties only after ``check()``: they rely on it.
    """

    def __init__(self, /, **arguments: Any) -> None:
        self._values: dict[str, Secret[Any]] = {}
        for name in arguments:
            self.take(name, arguments[name])
        self._labels: Mapping[str, str] = {}
        self._found: list[str] = []
        self._explained: set[str] = set()

    def take(self, name: str, value: object) -> None:
        """Set the argument ``name``."""
        self._values[name] = Secret(value)

    def take_if_set(self, name: str, value: object) -> None:
        """Set the argument ``name``, unless its variable is not set."""
        if value is not None:
            self.take(name, value)

    def check(self) -> None:
        """Raise ``SettingsError`` if there is a problem; its text names all of them."""
        problems = self.problems()
        if problems:
            raise SettingsError("; ".join(problems))

    def problems(self) -> list[str]:
        """Return what is wrong, a sentence for each mistake, without a value."""
        problems = list(self._found)
        for name, wrong_with in _CHECKS.items():
            problem = wrong_with(self._value(name))
            if problem and name not in self._explained:
                problems.append(f"{self._labels.get(name, name)} {problem}")
        return problems

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that were given, secrets included, for ``TurvoAuth``."""
        return {name: secret.reveal() for name, secret in self._values.items()}

    @property
    def normal_base_url(self) -> str:
        """The base URL as ``requests`` spells it, with a version at the end."""
        return _normal(self._value("base_url"))

    @property
    def credentials(self) -> Credentials:
        """What a login sends to Turvo."""
        names = ("api_key", "username", "password", "client_id", "client_secret")
        return Credentials(**{name: self._value(name) for name in names})

    @property
    def timeouts(self) -> tuple[float, float]:
        """Seconds to connect to the token endpoint, and seconds to read from it."""
        connect, read = self._value("token_timeout")
        return float(connect), float(read)

    @property
    def tls(self) -> TlsOptions:
        """How the token request verifies Turvo, and through which proxies it goes."""
        names = ("verify", "cert", "proxies")
        return TlsOptions(**{name: self._value(name) for name in names})

    @property
    def store(self) -> TokenStore | None:
        """The store that shares the token, or ``None``."""
        store: TokenStore | None = self._value("store")
        return store

    @property
    def expiry_buffer(self) -> float:
        """Seconds before the token's end from which it is renewed."""
        return float(self._value("expiry_buffer"))

    @property
    def on_event(self) -> Listener | None:
        """The callable that gets every event, or ``None``."""
        listener: Listener | None = self._value("on_event")
        return listener

    @property
    def token_key(self) -> str:
        """The Redis key of these credentials' token.

        The braces are a hash tag: a Redis cluster keeps the key and its companions on
        one server. The API key is part of the hash, because one user can have two
        tenants.
        """
        identity = [self.normal_base_url]
        identity += [self._value(name) for name in ("client_id", "username", "api_key")]
        # JSON keeps the fields apart, and escapes the bytes of an environment that are
        # not UTF-8.
        digest = sha256(json.dumps(identity).encode()).hexdigest()
        return f"turvo:auth_token:{{{digest[:12]}}}"

    def _value(self, name: str) -> Any:
        """Return an argument, or its default if it was not given."""
        secret = self._values.get(name)
        if secret is None:
            return _DEFAULTS.get(name)
        return secret.reveal()


def read(environ: Mapping[str, str] | None, overrides: Mapping[str, Any]) -> Settings:
    """Return the settings in ``environ``; ``overrides`` are arguments of ``TurvoAuth``.

    ``None`` stands for ``os.environ`` as it is now. An override takes the place of its
    variable, which is not read then. Raises nothing.
    """
    variables = _Variables(environ)
    settings = Settings(**{"base_url": DEFAULT_BASE_URL, **overrides})
    given = frozenset(overrides)
    unknown = unknown_options(overrides, AuthOptions.__annotations__)
    # An interrupt can come while the mapping asks a vault.
    del environ, overrides
    labels = {name: VARIABLES[name] for name in VARIABLES if name not in given}
    for name, variable in labels.items():
        settings.take_if_set(name, variables.value(variable))
    settings._labels = labels
    settings._explained = {name for name in labels if labels[name] in variables.wrong}
    _add_store(variables, settings, has_own_store="store" in given)
    settings._found = [*filter(None, [unknown]), *variables.problems]
    return settings


def unknown_options(options: Iterable[str], known: Iterable[str]) -> str:
    """Return a message that names the ``options`` that are not ``known``, or ``""``."""
    wrong = [name for name in options if name not in known]
    if not wrong:
        return ""
    from difflib import get_close_matches

    parts = []
    for name in wrong:
        plain_name = name.lower().removeprefix("turvo_")
        near = get_close_matches(plain_name, list(known), n=1)
        if name in _HINTS:
            parts.append(f"{name!r} ({_HINTS[name]})")
        elif near:
            parts.append(f"{name!r} (did you mean {near[0]!r}?)")
        else:
            parts.append(repr(name))
    return f"there is no option {', '.join(parts)}"


_STORE_HINT = "set it in the environment, or give store=RedisStore.from_url(...)"
_HINTS = {
    "redis_url": _STORE_HINT,
    "redis": _STORE_HINT,
    "token_key": _STORE_HINT,
    "encryption_keys": _STORE_HINT,
}


class PasswordFile(Hidden):
    """A callable password: returns the text of a file, which it reads at every call.

    So a password that is changed in a mounted secret needs no restart.
    """

    def __init__(self, variable: str, path: str) -> None:
        self._variable = variable
        self._path = path

    def __call__(self) -> str:
        """Return the password. Raises ``SettingsError`` if the file has none."""
        content = _read_file(self._variable, self._path)
        if content.problem:
            raise SettingsError(content.problem)
        return content.text.reveal()


class _Content(Hidden):
    """The text of a file, or what is wrong with it."""

    def __init__(self, text: str = "", problem: str = "") -> None:
        self.text = Secret(text)
        self.problem = problem


def _read_file(variable: str, path: str) -> _Content:
    """Return the text of the file at ``path``, to which ``variable`` points."""
    trouble = ""
    content = b""
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        # The path is not repeated: it could be the secret itself, set by mistake.
        trouble = getattr(error, "strerror", None) or "not a path"
    if trouble:
        return _Content(problem=f"the file of {variable} cannot be read: {trouble}")
    if len(content) > LARGEST_FILE:
        return _Content(problem=f"the file of {variable} is larger than 64 KB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return _Content(problem=f"the file of {variable} must be UTF-8 text")
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        return _Content(problem=f"the file of {variable} is empty")
    if problem := _text_problem(text):
        return _Content(problem=f"the text in the file of {variable} {problem}")
    return _Content(text)


class _Variables(Hidden):
    """Environment variables, read one by one, and what is wrong with them."""

    def __init__(self, environ: Mapping[str, str] | None) -> None:
        self.problems: list[str] = []
        self.wrong: set[str] = set()
        if environ is None:
            environ = os.environ
        if not isinstance(environ, Mapping):
            self.problems.append(_not_a_mapping(environ))
            self.wrong.update(ALL_VARIABLES)
            environ = {}
        self._environ = Secret(environ)

    def value(self, variable: str) -> str | PasswordFile | None:
        """Return the value of ``variable`` or of its file; ``None`` if it is not set.

        The password's file is returned as a callable. A problem with a file is noted.
        """
        value = Secret(self._look_up(variable) or None)
        file_variable = f"{variable}_FILE"
        path = self._look_up(file_variable) if variable in FILE_VARIABLES else None
        if not path:
            return value.reveal()
        if value.reveal():
            self.note(variable, f"{variable} and {file_variable} are both set")
            return None
        if problem := _text_problem(path):
            self.note(variable, f"{file_variable} {problem}")
            return None
        content = _read_file(file_variable, path)
        if content.problem:
            self.note(variable, content.problem)
            return None
        if variable == "TURVO_PASSWORD":
            return PasswordFile(file_variable, path)
        return content.text.reveal()

    def _look_up(self, variable: str) -> Any:
        """Return what the mapping holds, or ``None`` if it raises something."""
        try:
            return self._environ.reveal().get(variable)
        except Exception as error:
            # A mapping may ask a vault. Its exception would pass frames with secrets.
            if raised_by_signal_handler(error):
                raise
            self.note(variable, f"{variable} cannot be read: {type(error).__name__}")
        return None

    def text(self, variable: str) -> str:
        """Return the value of ``variable``, or ``""`` if it is not set or is wrong."""
        value = self.value(variable)
        if value is None:
            return ""
        if problem := _text_problem(value):
            self.note(variable, f"{variable} {problem}")
            return ""
        return str(value)

    def note(self, variable: str, problem: str) -> None:
        """Note a ``problem`` with ``variable``."""
        self.problems.append(problem)
        self.wrong.add(variable)


def _not_a_mapping(environ: object) -> str:
    """Return what to do instead of passing a path, for example."""
    return (
        "environ must be a mapping such as os.environ, not a "
        f"{type(environ).__name__}; from_env() reads no .env file: load it first, for "
        "example with dotenv_values() of the package python-dotenv"
    )


def _add_store(
    variables: _Variables, settings: Settings, *, has_own_store: bool
) -> None:
    """Add the ``RedisStore`` of the environment, unless the caller gave a store."""
    url = Secret("" if has_own_store else variables.text("REDIS_URL"))
    key = variables.text("TURVO_TOKEN_KEY")
    if not key:
        # With a mistake in the settings there is no hash, and the store is not used.
        key = "turvo:auth_token" if settings.problems() else settings.token_key
    ring = _keyring(variables, key)
    if ring and has_own_store and _leaves_unencrypted(settings.store):
        variables.problems.append(
            "TURVO_TOKEN_ENCRYPTION_KEYS is set, but the given store does not "
            "encrypt; make it with RedisStore(..., encryption_keys=...)"
        )
    if not url.reveal():
        return
    from .redis_store import RedisStore

    try:
        store = RedisStore.from_url(url.reveal(), key, encryption_keys=ring or ())
    except SettingsError as error:
        variables.problems.append(str(error))
    else:
        settings.take("store", store)


def _keyring(variables: _Variables, key: str) -> Keyring | None:
    """Return the encryption keys; ``None`` if there are none, or not all are usable."""
    keys = variables.text("TURVO_TOKEN_ENCRYPTION_KEYS")
    parts = [part.strip() for part in keys.split(",")]
    if not any(parts):
        return None
    from .sealing import Keyring, Sealing

    ring = Keyring(part for part in parts if part)
    try:
        Sealing(ring, key)
    except SettingsError as error:
        variables.problems.append(str(error))
        return None
    return ring


def _leaves_unencrypted(store: object) -> bool:
    """Return whether a store would write the token to Redis in clear text."""
    from .redis_store import RedisStore

    return isinstance(store, RedisStore) and not store._sealing


# What is wrong with a value, as the end of a sentence that begins with its name; "" if
# nothing is.


def _text_problem(value: object) -> str:
    """Check a setting that must be a string.

    Blanks at an end are refused, though Turvo could accept them: most often a secret
    was made with ``echo`` or pasted, and Turvo would count it as a wrong password.
    """
    if value is None:
        return "is not set"
    if not isinstance(value, str):
        return "must be a string"
    if not value:
        return "is not set"
    if value != value.lstrip():
        return "must not begin with a blank or a line end"
    if value != value.rstrip():
        return "must not end with a blank or a line end"
    # Bytes of an environment that are not UTF-8 become lone surrogates.
    if any("\ud800" <= character <= "\udfff" for character in value):
        return "must be text that UTF-8 can encode"
    return ""


def _base_url_problem(value: object) -> str:
    """Check that the base URL is https (or this machine's) and that no path follows."""
    if problem := _text_problem(value):
        return problem
    base_url = str(value)
    try:
        parts = origin(_normal(base_url))
    except (RequestException, ValueError):
        parts = None
    if parts is None or re.search(r"[?#@\\]", base_url):
        return f"must be an https URL such as {DEFAULT_BASE_URL}"
    scheme, host, _ = parts
    if _names_endpoint(host, urlsplit(base_url).path.rstrip("/").lower()):
        return (
            "must not be the URL of an endpoint, but the part that all endpoints have "
            f"in common, such as {DEFAULT_BASE_URL}"
        )
    if scheme == "http" and not is_loopback(host):
        return "must start with https, or the token would travel in clear text"
    return ""


def _names_endpoint(host: str, path: str) -> bool:
    """Return whether the ``path`` of a base URL goes on after Turvo's version.

    A gateway may have a path of its own, such as ``/turvo``.
    """
    if re.search(r"/v\d+\Z", path):
        return False
    if path and host.endswith(".turvo.com"):
        return True
    return bool(re.search(r"/v\d+/|/oauth/token\Z|/list\Z", path))


def _normal(base_url: str) -> str:
    """Return ``base_url`` as ``requests`` spells it, with a version at the end."""
    request = PreparedRequest()
    request.prepare_url(base_url, None)
    url = _DEFAULT_PORT.sub(r"\1\2", str(request.url).rstrip("/"))
    return url if re.search(r"/v\d+\Z", url, re.IGNORECASE) else f"{url}/v1"


_DEFAULT_PORT = re.compile(r"\A(?:(https://[^/]+):443|(http://[^/]+):80)(?=/|\Z)")


def _api_key_problem(value: object) -> str:
    """Check that the API key can be sent in a header."""
    problem = _text_problem(value)
    if not problem and not tokens.usable(value):
        return "must be visible ASCII characters, or no header can carry it"
    return problem


def _password_problem(value: object) -> str:
    """Check a password, which may be a callable; the login checks what it returns."""
    if callable(value):
        return ""
    problem = _text_problem(value)
    if problem == "must be a string":
        return "must be a string, or a callable that returns one"
    return problem


def _expiry_buffer_problem(value: object) -> str:
    """Check the seconds before the end from which a token is renewed."""
    if _is_seconds(value):
        return ""
    return "must be a number of seconds, 0 or more"


def _token_timeout_problem(value: object) -> str:
    """Check the timeouts of the token request. With 0, every login would fail."""
    if not isinstance(value, tuple) or len(value) != 2:
        return "must be a pair of seconds, to connect and to read"
    if not all(_is_seconds(part) and part >= 0.001 for part in value):
        return "must be a pair of seconds, to connect and to read, both above 0"
    return ""


def _store_problem(value: object) -> str:
    """Check that a store has the three methods of a ``TokenStore``."""
    # A class has the methods of its instances, so the protocol would accept it.
    is_store = isinstance(value, TokenStore) and not isinstance(value, type)
    if value is None or is_store:
        return ""
    return "must be a TokenStore; RedisStore.from_url(url, key) makes one"


def _on_event_problem(value: object) -> str:
    """Check the listener."""
    if value is None or callable(value):
        return ""
    return "must be a callable that takes an event"


def _verify_problem(value: object) -> str:
    """Check ``verify``. ``requests`` would take ``""`` for ``False``."""
    if isinstance(value, bool) or _is_path(value):
        return ""
    return "must be True, False, or the path (a string) of a file with CA certificates"


def _cert_problem(value: object) -> str:
    """Check the client certificate: one file, or a certificate and its key."""
    pair = value if isinstance(value, tuple) and len(value) == 2 else (value,)
    if value is None or all(map(_is_path, pair)):
        return ""
    return (
        "must be the path (a string) of a certificate, or a pair with that of its key"
    )


def _proxies_problem(value: object) -> str:
    """Check the proxies of the token request. Their URLs can hold a password."""
    if value is None:
        return ""
    if isinstance(value, Mapping) and all(
        isinstance(part, str) for pair in value.items() for part in pair
    ):
        return ""
    return 'must be a mapping such as {"https": "http://proxy.example:3128"}'


def _is_seconds(value: object) -> bool:
    """Return whether ``value`` is a finite number, 0 or more."""
    return not isinstance(value, str) and tokens.parse_seconds(value) is not None


def _is_path(value: object) -> bool:
    """Return whether ``value`` is the path of something that exists."""
    return isinstance(value, str) and os.path.exists(value)


_CHECKS: dict[str, Callable[[Any], str]] = {
    "base_url": _base_url_problem,
    "api_key": _api_key_problem,
    "username": _text_problem,
    "password": _password_problem,
    "client_id": _text_problem,
    "client_secret": _text_problem,
    "expiry_buffer": _expiry_buffer_problem,
    "token_timeout": _token_timeout_problem,
    "store": _store_problem,
    "on_event": _on_event_problem,
    "verify": _verify_problem,
    "cert": _cert_problem,
    "proxies": _proxies_problem,
}
"""The check of each argument."""
