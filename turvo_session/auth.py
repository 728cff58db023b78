"""The ``requests`` auth: attach the token, answer a 401."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from requests import PreparedRequest, Response
from requests.auth import AuthBase

from . import settings
from .errors import TurvoAuthError
from .grant import PasswordGrant
from .origin import same_origin
from .renewal import Got
from .replay import KEY_HEADER, guard_redirect, replay, replayable, rewound
from .secret import Secret
from .source import TokenSource, TokenStatus
from .tokens import Token

if TYPE_CHECKING:
    import tenacity

    from .events import Event, Listener
    from .store import TokenStore


@dataclass(frozen=True, slots=True)
class Stats:
    """Counters of one ``TurvoAuth`` since it was made.

    ``requests`` that got a token; ``logins`` that gave one; tokens ``adopted`` that another process
    stored; ``replays`` after a 401; ``waits`` for somebody else's login; ``store_errors``.
    """

    requests: int
    logins: int
    adopted: int
    replays: int
    waits: int
    store_errors: int


class TurvoAuth(AuthBase):
    """Attaches the bearer token and the ``x-api-key`` to every request to Turvo, and to no other.

    The token is got by a login when there is none, shared through ``store`` (a ``RedisStore``; ``None``:
    kept in this process), renewed when ``expiry_buffer`` seconds of its life are left, and replaced
    when Turvo refuses it: a 401 costs one login for all who share the store, and the request is
    sent again. Threads and forked children may share an auth.

    ``token_timeout``: seconds to connect to the token endpoint and to read from it; their sum bounds
    an attempt as a whole. ``on_event``: called with every event (``turvo_session.events``).

    Out of a request come, beside what ``requests`` raises, the four ``TurvoAuthError``. The
    constructor raises ``SettingsError`` that names every argument that is missing or wrong.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        username: str,
        password: str,
        client_id: str = "publicapi",
        client_secret: str = "secret",
        store: TokenStore | None = None,
        expiry_buffer: float = 300.0,
        token_timeout: tuple[float, float] = (3.05, 10.0),
        on_event: Listener | None = None,
    ) -> None:
        given = settings.Settings(
            base_url=base_url,
            api_key=api_key,
            username=username,
            password=password,
            client_id=client_id,
            client_secret=client_secret,
            expiry_buffer=expiry_buffer,
            token_timeout=token_timeout,
            store=store,
        )
        del base_url, api_key, username, password, client_id, client_secret  # tracebacks show locals
        del expiry_buffer, token_timeout, store
        given.check()
        self.base_url: str = given.normal_base_url
        self._prefix = self.base_url[: self.base_url.index("/", len("https://")) + 1]
        self._beyond = self._prefix[:-1] + chr(ord("/") + 1)
        credentials = given.credentials
        self._api_key: Secret[str] = credentials.api_key
        self._on_event = on_event
        self._counts = dict.fromkeys(("LoggedIn", "Adopted", "Replayed", "Waited"), 0)
        self._requests = 0
        self._clock = time.monotonic
        self._from_env = False
        login = PasswordGrant(credentials, f"{self.base_url}/oauth/token", given.timeouts)
        self._source = TokenSource(login, given.store, expiry_buffer=given.expiry_buffer, tell=self._tell)
        self._attachment = _NOTHING

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> TurvoAuth:
        """An auth made of ``TURVO_BASE_URL``, ``TURVO_API_KEY``, ``TURVO_USERNAME``, ``TURVO_PASSWORD`` ...

        ... ``TURVO_CLIENT_ID``, ``TURVO_CLIENT_SECRET``, ``REDIS_URL``, ``TURVO_TOKEN_KEY`` and
        ``TURVO_TOKEN_ENCRYPTION_KEYS``. ``environ`` is ``os.environ`` unless given; ``overrides`` are
        arguments of the constructor. Raises ``SettingsError`` that names every variable that is missing
        or wrong, never a value.
        """
        alone = (environ is None or environ is os.environ) and not overrides
        variables, arguments = Secret(os.environ if environ is None else environ), Secret(overrides)
        del environ, overrides  # tracebacks show locals
        given = settings.read(variables, arguments)
        given.check()
        auth = cls(**given.arguments)
        auth._from_env = alone
        return auth

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        """Attach the token and the key to a request to our origin. Raises ``TurvoAuthError``."""
        url = r.url
        # What lies between these two begins with the prefix; `startswith` would take twice as long.
        if url is None or not (self._prefix <= url < self._beyond or same_origin(url, self.base_url)):
            return r
        attachment = self._attachment
        if self._clock() >= attachment.due:
            attachment = self._attach(self._source.get())
        self._requests += 1  # one bytecode's worth of a race: a lock would cost more than the headers
        headers = r.headers
        headers["Authorization"], headers[KEY_HEADER] = attachment.secrets()
        r.hooks["response"].append(attachment)
        return r

    def token(self) -> Token:
        """The current token, after a login if need be: for curl, for httpx, to warm up.

        Raises ``TurvoAuthError``.
        """
        attachment = self._attachment  # another thread may forget it meanwhile
        if self._clock() >= attachment.due:
            attachment = self._attach(self._source.get())
        return attachment.token

    def forget(self) -> None:
        """Drop the current token here and, if it is still the stored one, in the store."""
        self._source.forget()
        self._attachment = _NOTHING

    def status(self) -> TokenStatus:
        """Where the token came from, its fingerprint, its life, the store's health. Never logs in."""
        return self._source.status()

    @property
    def stats(self) -> Stats:
        """The counters as they are now."""
        counts = self._counts
        return Stats(
            requests=self._requests,
            logins=counts["LoggedIn"],
            adopted=counts["Adopted"],
            replays=counts["Replayed"],
            waits=counts["Waited"],
            store_errors=self._source.store_errors,
        )

    def __repr__(self) -> str:
        return f"<TurvoAuth for {getattr(self, 'base_url', 'nothing yet')}>"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self._from_env:
            return (_from_env, (type(self),))
        raise TypeError(
            "a TurvoAuth made from arguments holds secrets and does not pickle; make one in each "
            "process, or use TurvoAuth.from_env() without arguments, which pickles without them"
        )

    def _attach(self, token: Token) -> _Attachment:
        self._attachment = attachment = _Attachment(self, token)
        return attachment

    def _answer(self, attachment: _Attachment, response: Response, options: dict[str, Any]) -> Response:
        """The conversation after an answer: heal a 401 once, keep a redirect from taking secrets along."""
        request = response.request
        url = request.url or ""
        if not (url.startswith(self._prefix) or same_origin(url, self.base_url)):
            return response
        # Another header than ours: somebody put it there, or a 401 is healed already.
        if response.status_code == 401 and request.headers.get("Authorization") == attachment.bearer.reveal():
            response = self._heal(attachment, response, options)
        guard_redirect(response, request)
        return response

    def _heal(self, attachment: _Attachment, response: Response, options: dict[str, Any]) -> Response:
        import tenacity

        refused: _Attachment | None = attachment

        def attempt() -> Response:
            nonlocal response, refused
            assert refused is not None
            response, refused = self._once_more(refused, response, options)
            return response

        # A token that another process got may be as revoked as ours: after an outage of Redis a fleet can have
        # two. Then once more; what came of a login of our own is the last word.
        healed: Response = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(2),
            retry=tenacity.retry_if_result(lambda _: refused is not None),
            retry_error_callback=_last_answer,
        )(attempt)
        return healed

    def _once_more(
        self, attachment: _Attachment, response: Response, options: dict[str, Any]
    ) -> tuple[Response, _Attachment | None]:
        """The answer to the request with another token; the same answer, where there can be none.

        Beside it that token's attachment, if it was adopted and refused as well.
        """
        from .events import Refused, Replayed

        self._tell(Refused(attachment.token.fingerprint))
        try:
            renewed = self._source.renew(attachment.token)
        except BaseException as error:
            if isinstance(error, TurvoAuthError) and not replayable(response.request):
                return response, None
            response.close()  # nobody else can
            raise
        if renewed is None:
            return response, None
        attachment = self._attach(renewed.token)
        if not rewound(response.request):
            return response, None
        again = replay(response, attachment.bearer, options)
        self._tell(Replayed(renewed.token.fingerprint, again.status_code))
        if again.status_code == 401:
            return again, None if isinstance(renewed, Got) else attachment
        if isinstance(renewed, Got):
            self._source.prove(renewed.token)
        return again, None

    def _tell(self, event: Event) -> None:
        from .events import tell

        name = type(event).__name__
        if name in self._counts:
            self._counts[name] += 1
        tell(self._on_event, event)


def _from_env(kind: type[TurvoAuth]) -> TurvoAuth:
    """Make an auth from the environment of the process that reads a pickle.

    ``cloudpickle`` and ``dill`` serialise a class method by value, default arguments and all, but
    a module-level function by name.
    """
    return kind.from_env()


class _Attachment:
    """A token made ready for the wire, and the response hook that knows which token it was."""

    __slots__ = ("_auth", "bearer", "due", "secrets", "token")

    def __init__(self, auth: TurvoAuth, token: Token) -> None:
        self._auth = auth
        self.token = token
        self.bearer: Secret[str] = Secret(f"Bearer {token.access_token}")
        self.secrets: Callable[[], tuple[str, str]] = Secret(
            (self.bearer.reveal(), auth._api_key.reveal())
        ).reveal
        self.due = token.due

    def __call__(self, response: Response, *_: object, **options: Any) -> Response:
        return self._auth._answer(self, response, options)

    def __repr__(self) -> str:
        return f"<hook for {self.token!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_spent, ())  # a pickled response has been answered


class _Nothing(_Attachment):
    def __init__(self) -> None:
        self.due = float("-inf")

    def __repr__(self) -> str:
        return "<no hook>"


_NOTHING: _Attachment = _Nothing()


def _spent() -> Callable[..., Response]:
    return _no_hook


def _no_hook(response: Response, *_: object, **__: object) -> Response:
    return response


def _last_answer(state: tenacity.RetryCallState) -> Response:
    assert state.outcome is not None
    answer: Response = state.outcome.result()
    return answer
