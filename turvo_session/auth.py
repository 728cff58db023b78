"""``TurvoAuth``: put the token on a request, and answer a 401.

::

    request ──▶ another origin? ────────▶ left as it is
                else the current token, or what source.get() returns
                     ──▶ headers and response hook on the request

    answer ───▶ not a 401? ─────────────▶ returned; its token is known to be good
                sent with another token? ▶ returned
                else source.renew(refused)
                     ──▶ the request is sent again, at most twice

The response hook is an ``Attachment``, one for each token. So the hook of a request
knows which token that request was sent with, whatever the current one is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, Unpack, cast

from requests import PreparedRequest, Response
from requests.auth import AuthBase
from requests.structures import CaseInsensitiveDict

from . import settings
from .errors import SettingsError, TurvoAuthError
from .events import Refused, Replayed, logger
from .login import PasswordLogin
from .origin import goes_to_proxy_in_clear, looks_alike, same_origin, shown_origin
from .renewal import Adopt, Got, Stay
from .replay import (
    GUARDED_CLASSES,
    KEY_HEADER,
    FalseAlarms,
    UncuredRequests,
    replay,
    replayable,
    rewound,
)
from .secret import Hidden, Secret
from .settings import AuthOptions
from .source import TokenSource, TokenStatus
from .tokens import Token, same_secret

if TYPE_CHECKING:
    import tenacity

    from .events import Event, Listener
    from .store import TokenStore

MOST_REPLAYS = 2
"""How often a request is sent again: an adopted token can be refused as well. Once more
if the refused token itself was sent again first."""
MOST_ORIGINS_TOLD = 64
"""Other origins that an auth mentions in the log, each of them once."""

Headers = CaseInsensitiveDict[str | bytes]

_KEEPS_PAIRS = getattr(Headers(A="b"), "_store", None) == {"a": ("A", "b")}
"""Whether ``requests`` still keeps headers as pairs under names in lower case."""


@dataclass(frozen=True)
class Stats:
    """What one ``TurvoAuth`` has done since it was made.

    ``requests`` that got a token, ``logins`` that gave one, tokens ``adopted`` from
    another process, ``replays`` after a 401, ``waits`` for another caller's login, and
    ``store_errors``.
    """

    requests: int
    logins: int
    adopted: int
    replays: int
    waits: int
    store_errors: int


class KeywordsOnly(AuthBase):
    """Explains what is wrong with positional arguments, most often a request.

    ``requests`` calls whatever is the auth of a session, a class as well.
    """

    def __new__(cls, *positional: object, **arguments: object) -> Self:
        is_request = any(hasattr(value, "prepare_url") for value in positional)
        has_positional = bool(positional)
        # Error trackers show the variables of the frames that an exception passes.
        del positional, arguments
        if is_request:
            raise SettingsError(
                f"the auth of a session must be {cls.__name__}.from_env(), with "
                f"parentheses, and not the class {cls.__name__}"
            )
        if has_positional:
            raise SettingsError(
                f"{cls.__name__} takes its arguments by name, such as username=..., "
                f"and {cls.__name__}.from_env() takes them from the environment"
            )
        return super().__new__(cls)


class TurvoAuth(KeywordsOnly):
    """Puts the bearer token and the ``x-api-key`` on every request to Turvo.

    Requests to another origin than that of ``base_url`` are left unchanged. The token
    comes from a login, is shared through ``store`` (a ``RedisStore``; with ``None``
    this process keeps it), and is renewed ``expiry_buffer`` seconds before it expires.
    A 401 costs one login for all who share the store, and the request is sent again.
    Threads and forked children may share an auth.

    ``password``: a string, or a callable that returns one and is called at every login.
    ``token_timeout``: seconds to connect to the token endpoint and seconds to read from
    it; their sum is the longest time of one try. ``on_event``: called with every event
    of ``turvo_session.events``. ``verify``, ``cert`` and ``proxies``: as in
    ``requests``, for the token request, which no setting of your session reaches.

    Raises ``SettingsError`` that names every argument that is missing or wrong. A
    request raises what ``requests`` raises, and ``TurvoAuthError`` if no token can be
    had.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        username: str,
        password: str | Callable[[], str],
        client_id: str = "publicapi",
        client_secret: str = "secret",
        store: TokenStore | None = None,
        expiry_buffer: float = 300.0,
        token_timeout: tuple[float, float] = (3.05, 10.0),
        on_event: Listener | None = None,
        verify: bool | str = True,
        cert: str | tuple[str, str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> None:
        given = settings.Settings(
            base_url=base_url,
            api_key=api_key,
            username=username,
            password=password,
            client_id=client_id,
            client_secret=client_secret,
            store=store,
            expiry_buffer=expiry_buffer,
            token_timeout=token_timeout,
            on_event=on_event,
            verify=verify,
            cert=cert,
            proxies=proxies,
        )
        # Error trackers show the variables of the frames that an exception passes, and
        # a secret can be in the wrong argument.
        del base_url, api_key, username, password, client_id, client_secret
        del store, expiry_buffer, token_timeout, on_event, verify, cert, proxies
        given.check()
        self.base_url: str = given.normal_base_url
        scheme, _, host, *_ = self.base_url.split("/")
        self._prefix = f"{scheme}//{host}/"
        self._api_key = given.credentials.api_key
        self._on_event = given.on_event
        self._counts = dict.fromkeys(("LoggedIn", "Adopted", "Replayed", "Waited"), 0)
        self._requests = 0
        self._from_env = False
        self._warned_of_proxy = False
        self._told_origins: frozenset[str] = frozenset()
        self._uncured = UncuredRequests()
        self._alarms = FalseAlarms()
        self._latest = _NOTHING
        self._attachment = _NOTHING
        login = PasswordLogin(
            given.credentials, f"{self.base_url}/oauth/token", given.timeouts, given.tls
        )
        self._source = TokenSource(
            login,
            given.store,
            expiry_buffer=given.expiry_buffer,
            tell=self._count_event,
        )

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str] | None = None,
        **overrides: Unpack[AuthOptions],
    ) -> Self:
        """Return an auth made of environment variables; the README lists them.

        ``environ``: a mapping to read in place of ``os.environ``. ``overrides``:
        arguments of the constructor that take the place of a variable. Raises
        ``SettingsError`` that names every variable that is missing or wrong.
        """
        is_request = hasattr(environ, "prepare_url")
        is_plain = environ is None and not overrides
        given = Secret((environ, cast("Mapping[str, Any]", overrides)))
        # Error trackers show the variables of the frames that an exception passes.
        del environ, overrides
        found = settings.read(*given.reveal())
        if is_request:
            raise SettingsError(
                f"the auth of a session must be {cls.__name__}.from_env(), with "
                "parentheses, and not the method itself"
            )
        found.check()
        auth = cls(**found.arguments())
        auth._from_env = is_plain
        return auth

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        """Put token and key on a request to the origin of ``base_url``.

        Raises ``TurvoAuthError``.
        """
        url = r.url
        if url is None or not (url.startswith(self._prefix) or self._is_served(url)):
            return r
        attachment = self._attachment
        if time.monotonic() >= attachment.due:
            if self._crosses_proxy():
                return r
            try:
                attachment = self._attach_token(self._source.get())
            except BaseException:
                # Error trackers show the variables of the frames that an exception
                # passes, and a request that was prepared before holds a token.
                del r
                raise
        # Threads can lose one of the count. A lock would cost more than the headers.
        self._requests += 1
        attachment.put_on(r)
        return r

    def put_on_directly(self, r: PreparedRequest) -> PreparedRequest:
        """Do the same for a request that is sent past every proxy.

        ``TurvoSession`` sends requests to this machine that way.
        """
        if r.url is not None and self._is_served(r.url):
            try:
                attachment = self._current_attachment()
            except BaseException:
                del r
                raise
            self._requests += 1
            attachment.put_on(r)
        return r

    def token(self) -> Token:
        """Return the current token, for curl or another client. Logs in if need be.

        Raises ``TurvoAuthError``.
        """
        return self._current_attachment().token

    def login(self, *, force: bool = False) -> Token:
        """Log in now, store the token, and clear what is remembered of failed logins.

        Turvo is asked whatever is remembered, unless eight tries within 15 minutes may
        have counted as wrong passwords; with ``force`` even then. Turvo locks the
        account after ten. Raises ``TurvoAuthError``.
        """
        token = self._source.log_in(force=force)
        self._uncured.forget_all()
        return self._attach_token(Got(token)).token

    def forget(self) -> None:
        """Drop the current token, and what is remembered of failed logins.

        Both are dropped in this process and in the store. A token that another process
        has stored since is kept.
        """
        self._source.forget()
        self._uncured.forget_all()
        self._latest = _NOTHING
        self._attachment = _NOTHING

    def status(self, *, try_write: bool = False) -> TokenStatus:
        """Return where the token comes from, its life, and the state of the store.

        Never logs in. ``try_write``: test as well whether the store can be written,
        which wakes processes that wait for a token.
        """
        return self._source.status(try_write=try_write)

    @property
    def stats(self) -> Stats:
        """The counters as they are now."""
        return Stats(
            requests=self._requests,
            logins=self._counts["LoggedIn"],
            adopted=self._counts["Adopted"],
            replays=self._counts["Replayed"],
            waits=self._counts["Waited"],
            store_errors=self._source.store_errors,
        )

    def __repr__(self) -> str:
        return f"<TurvoAuth for {getattr(self, 'base_url', 'nothing yet')}>"

    # An auth is made to be shared. A second one would log in for itself.

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self._from_env:
            return _from_environment, (type(self),)
        raise TypeError(
            "a TurvoAuth made from arguments holds secrets and does not pickle; make "
            "one in each process, or use TurvoAuth.from_env() without arguments, which "
            "pickles without them"
        )

    def _is_served(self, url: str) -> bool:
        """Return whether the token may go to ``url``; log each other origin once.

        The line is a warning if the URL looks like one that is meant for Turvo.
        """
        if same_origin(url, self.base_url):
            return True
        foreign = shown_origin(url)
        if foreign in self._told_origins:
            return False
        if len(self._told_origins) < MOST_ORIGINS_TOLD:
            self._told_origins |= {foreign}
            is_mistake = looks_alike(url, self.base_url)
            logger.log(
                logging.WARNING if is_mistake else logging.DEBUG,
                "requests to %s carry no token and no key, because TURVO_BASE_URL is "
                "%s; change one of the two if that is your Turvo",
                foreign,
                self.base_url,
            )
        return False

    def _crosses_proxy(self) -> bool:
        """Return whether a proxy would read the token; warn of it once."""
        if not goes_to_proxy_in_clear(self.base_url):
            return False
        if not self._warned_of_proxy:
            self._warned_of_proxy = True
            logger.warning(
                "requests to %s carry no token and no key: HTTP_PROXY would send them "
                "in clear text to a proxy; set NO_PROXY to exempt that host",
                shown_origin(self.base_url),
            )
        return True

    def _current_attachment(self) -> Attachment:
        attachment = self._latest
        if time.monotonic() >= attachment.due:
            attachment = self._attach_token(self._source.get())
        return attachment

    def _attach_token(
        self, outcome: Got | Adopt, *, after_401: bool = False
    ) -> Attachment:
        """Return the attachment of a token, and use it for the requests to come.

        A token that is served again keeps its attachment, and with it what this process
        has seen of the token.
        """
        token = outcome.token
        attachment = self._latest
        if attachment is _NOTHING or not same_secret(token, attachment.token):
            attachment = Attachment(self, token, self._api_key)
        attachment.token = token
        attachment.due = token.due
        attachment.is_doubted = after_401
        if isinstance(outcome, Adopt):
            attachment.is_doubted = outcome.doubted
        self._latest = attachment
        self._attachment = attachment
        if goes_to_proxy_in_clear(self.base_url):
            # Every request has to look for the proxy, until there is none.
            self._attachment = _NOTHING
        return attachment

    def _count_event(self, event: Event) -> None:
        """Count an event and pass it on."""
        name = type(event).__name__
        if name in self._counts:
            self._counts[name] += 1
        if self._on_event is not None:
            self._on_event(event)


class Attachment(Hidden):
    """A token made ready for the wire, and the response hook of its requests.

    ``due``: the monotonic moment from which another token should be got.
    ``is_known_good``: this process has seen an answer other than 401 to the token.
    ``is_doubted``: the token was got because of a 401, and the next such answer clears
    that doubt for everybody.
    """

    __slots__ = (
        "_auth",
        "_is_in",
        "_put_in",
        "due",
        "is_doubted",
        "is_known_good",
        "token",
    )

    due: float
    is_doubted: bool
    token: Token

    def __init__(self, auth: TurvoAuth, token: Token, api_key: Secret[str]) -> None:
        self._auth = auth
        self._put_in, self._is_in = _header_functions(token, api_key)
        self.is_known_good: bool = False

    def put_on(self, request: PreparedRequest) -> None:
        """Put token, key and this hook on a request, and guard the request."""
        self._put_in(request.headers)
        hooks = request.hooks["response"]
        if self in hooks or self._takes_place_in(hooks):
            return
        # It comes first, so that the caller's own hooks see the final answer only.
        hooks.insert(0, self)
        request.__class__ = GUARDED_CLASSES[type(request)]

    def _takes_place_in(self, hooks: list[Any]) -> bool:
        """Return whether the hook of an older token was there, and replace it."""
        for index, hook in enumerate(hooks):
            if isinstance(hook, Attachment) and hook._auth is self._auth:
                hooks[index] = self
                return True
        return False

    def __call__(self, response: Response, *_: object, **options: Any) -> Response:
        """Answer a 401; note that any other answer shows the token to be good."""
        if response.status_code != 401 and self._has_nothing_to_note():
            return response
        if not self._is_token_of(response.request):
            # Somebody replaced the header, or sent the request elsewhere.
            return response
        if response.status_code != 401:
            try:
                self.note_accepted(response.request)
            except BaseException:
                del response, options
                raise
            return response
        conversation = Conversation(self._auth, self, response, options)
        # Error trackers show the variables of the frames that an exception passes.
        del response, options
        return conversation.final_answer()

    def note_accepted(self, request: PreparedRequest) -> None:
        """Note that ``request`` had an answer other than 401."""
        self._auth._uncured.forget(request)
        del request
        self.is_known_good = True
        if self.is_doubted:
            self.is_doubted = False
            self._auth._source.prove(self.token)

    def __repr__(self) -> str:
        return f"<hook for {self.token!r}>"

    def __reduce__(self) -> Any:
        return _spent, ()  # a response that was pickled has been answered

    def _has_nothing_to_note(self) -> bool:
        is_settled = self.is_known_good and not self.is_doubted
        return is_settled and self._auth._uncured.is_empty

    def _is_token_of(self, request: PreparedRequest) -> bool:
        """Return whether a request carried this token to the origin of ``base_url``."""
        if not self._is_in(request.headers):
            return False
        return same_origin(request.url or "", self._auth.base_url)


class _Nothing(Attachment):
    """Stands in for an attachment as long as there is no token."""

    __slots__ = ()

    def __init__(self) -> None:
        self.due = float("-inf")

    def __repr__(self) -> str:
        return "<no hook>"


_NOTHING: Attachment = _Nothing()


class Conversation:
    """What follows a 401: the request is sent again, two or three times at most.

    If an exception ends it, the last answer is closed, and the object no longer refers
    to anything that holds a secret.
    """

    def __init__(
        self,
        auth: TurvoAuth,
        attachment: Attachment,
        response: Response,
        options: dict[str, Any],
    ) -> None:
        self._auth = auth
        self._attachment = attachment
        self._response = response
        self._options = options
        self._turns = 0
        self._most_turns = MOST_REPLAYS
        self._was_good = attachment.is_known_good
        self._may_login = response.request not in auth._uncured

    def final_answer(self) -> Response:
        """Return the first answer that is not a 401, or the last 401."""
        import tenacity

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda turn: turn.needs_another),
            stop=lambda _: self._turns >= self._most_turns,
            retry_error_callback=_last_result,
        )
        try:
            turn: TurnResult = retrying(self.take_turn)
        except BaseException:
            self._hang_up()
            raise
        return turn.response

    def take_turn(self) -> TurnResult:
        """Send the request again, if that may help."""
        self._turns += 1
        self._tell_event(Refused(self._attachment.token.fingerprint))
        outcome = self._next_token()
        if outcome is None or not rewound(self._response.request):
            return TurnResult(self._response)
        self._response = replay(self._response, self._attachment.put_on, self._options)
        status = self._response.status_code
        self._tell_event(Replayed(self._attachment.token.fingerprint, status))
        if status == 401:
            self._note_refused(outcome)
            # After a login of this caller, another one would not help.
            needs_another = not isinstance(outcome, Got)
            return TurnResult(self._response, needs_another=needs_another)
        self._attachment.note_accepted(self._response.request)
        if isinstance(outcome, Stay):
            self._auth._alarms.note_false()
        return TurnResult(self._response)

    def _next_token(self) -> Got | Adopt | Stay | None:
        """Choose the token for the next turn; ``None`` if no token would help."""
        if self._repeats_first():
            # If this was no false alarm, there have to be turns enough for the other
            # tokens: one to adopt, and one of a login.
            self._most_turns = MOST_REPLAYS + 1
            return Stay()
        try:
            outcome = self._auth._source.renew(
                self._attachment.token,
                known_good=self._was_good,
                may_login=self._may_login,
            )
        except TurvoAuthError:
            if replayable(self._response.request):
                raise
            # The caller has to make the body anew, which only the 401 tells.
            return None
        if not isinstance(outcome, Stay):
            self._attachment = self._auth._attach_token(outcome, after_401=True)
            self._auth._alarms.note_replaced()
        elif not (self._was_good and self._may_login):
            return None
        return outcome

    def _repeats_first(self) -> bool:
        """Return whether the same token is sent again before it is replaced."""
        is_current = self._attachment is self._auth._latest
        if self._turns > MOST_REPLAYS:
            return False
        if not (is_current and self._was_good and self._may_login):
            return False
        if not rewound(self._response.request):
            return False
        alarms = self._auth._alarms
        return alarms.are_possible if self._turns == 1 else alarms.are_likely

    def _note_refused(self, outcome: Got | Adopt | Stay) -> None:
        """Note what it means that a replay was refused as well."""
        if isinstance(outcome, Got):
            self._auth._uncured.remember(self._response.request)
        if isinstance(outcome, Stay) and self._turns == MOST_REPLAYS:
            self._auth._alarms.note_true()

    def _tell_event(self, event: Event) -> None:
        self._auth._source.tell(event)

    def _hang_up(self) -> None:
        self._response.close()
        del self._response, self._options


class TurnResult:
    """The answer after one turn of a conversation."""

    def __init__(self, response: Response, *, needs_another: bool = False) -> None:
        self.response = response
        self.needs_another = needs_another


def _last_result(state: tenacity.RetryCallState) -> Any:
    """Return what the last attempt returned, where tenacity would raise an error."""
    assert state.outcome is not None
    return state.outcome.result()


def _header_functions(
    token: Token, api_key: Secret[str]
) -> tuple[Callable[[Headers], None], Callable[[Headers], bool]]:
    """Return how to put token and key into headers, and how to find the token there.

    Both secrets are kept in closures, which error trackers do not open.
    """
    bearer = f"Bearer {token.access_token}"
    key = api_key.reveal()
    bearer_pair = ("Authorization", bearer)
    key_pair = (KEY_HEADER, key)

    def put_secrets_in(headers: Headers) -> None:
        if _KEEPS_PAIRS and type(headers) is CaseInsensitiveDict:
            # The same as below in a quarter of the time, which is most of an attach.
            headers._store["authorization"] = bearer_pair
            headers._store["x-api-key"] = key_pair
        else:
            headers["Authorization"] = bearer
            headers[KEY_HEADER] = key

    def has_token_in(headers: Headers) -> bool:
        return headers.get("Authorization") == bearer

    return put_secrets_in, has_token_in


def _from_environment(auth_class: type[TurvoAuth]) -> TurvoAuth:
    """Return an auth of the environment in which a pickle is read."""
    return auth_class.from_env()


def _spent() -> Callable[..., Response]:
    return _pass_through


def _pass_through(response: Response, *_: object, **__: object) -> Response:
    return response
