"""The API of ``FakeTurvo``: what each request is answered with.

``FakeTurvo`` adds the server and what tests use. A request is judged in this order:

1. A lever that a test has set answers it, or drops its connection.
2. The path must begin with a version, else the answer is 404.
3. The ``x-api-key`` must be right, else the answer is a gateway's 403.
4. A token request must be complete. Wrong passwords are counted, and lock the account.
5. Any other request needs a token that is alive, else the answer is 401.
6. An answer that a test has given for the path comes before those of Turvo.
7. Reads, writes and errors are answered in Turvo's envelope.

One lock is held from the first step to the last, so that counters, tokens and shipments
are always those of one moment. Only the time that an answer takes is spent before it.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Literal, get_args
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from .checks import Choice, Seconds, check_seconds
from .lists import JsonObject, page_details
from .shipments import Shipments

LOCKED_AFTER = 10
"""Wrong passwords in a row after which Turvo locks the account."""

LOCKED_FOR = 900.0
"""How long it stays locked, in seconds."""

Where = Literal["token", "api"]
Policy = Literal["fresh", "same", "revoke"]
Query = Mapping[str, str]
HeaderPairs = tuple[tuple[str, str], ...]
Headers = Mapping[str, str] | Iterable[tuple[str, str]]

_TOKEN_PATH = "/v1/oauth/token"
"""The path of the token endpoint; all other paths are those of the API."""

_TOKEN_REQUEST = {
    "grant_type": "password",
    "client_id": "publicapi",
    "client_secret": "secret",
    "scope": "read+trust+write",
    "type": "business",
}
"""What every token request must say, beside username and password."""

_OTHER_LISTS = {
    "/v1/carriers/list": ("carriers", ("Redline Freight", "Summit Haulers")),
    "/v1/contacts/list": ("contacts", ("J. Driver", "D. Dispatcher")),
    "/v1/customers/list": ("customers", ("Northfield Foods", "Acme Paper")),
    "/v1/documents/list": ("documents", ("Bill of lading", "Proof of delivery")),
    "/v1/exceptions/list": ("exceptions", ()),
    "/v1/locations/list": ("locations", ("Dock Chicago", "Dock Dallas")),
    "/v1/orders/list": ("orders", ()),
}
"""Lists beside that of the shipments: what Turvo calls their rows, and some rows."""


_ACCEPTING_PATHS = ("/v1/shipments", "/v2/documents/upload-via-urls")
"""Where a POST is answered with the size of its body."""

_OWN = "turvo.answer() can give it an answer of your own"


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that arrived, and the status of its answer (0: none was given)."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    status: int


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a request."""

    status: int
    body: bytes = b""
    headers: HeaderPairs = ()

    @classmethod
    def of(cls, status: int, value: object) -> Answer:
        """Return an answer whose body is ``value`` as JSON."""
        body = json.dumps(value).encode()
        content_type = ("Content-Type", "application/json")
        return cls(status, body, (content_type,))


_NO_LEVER = Answer(-1)
"""Says that no lever is set for a request; ``None`` would drop its connection."""


@dataclass(slots=True)
class _Lever:
    """A failure that waits for requests; without an ``answer`` it drops them."""

    where: Where
    path: str
    times: float
    answer: Answer | None
    fired: bool = False


def header_pairs(headers: Headers) -> HeaderPairs:
    """Return headers as pairs; a name may occur more than once in a list of them."""
    if isinstance(headers, Mapping):
        headers = headers.items()
    return tuple((name, value) for name, value in headers)


class TurvoApi:
    """Answers requests as Turvo does, as far as that is known.

    Tests may replace ``_answer``, ``_routed``, ``_token`` and ``_grant`` on an instance
    or in a subclass: every request goes through them.
    """

    policy = Choice[Policy](get_args(Policy))
    token_life = Seconds()
    login_seconds = Seconds()
    api_seconds = Seconds()

    username = "dispatcher@broker.example"
    password = "correct horse battery staple"
    api_key = "fake-api-key-0001"

    def __init__(
        self,
        *,
        seed: int,
        shipments: int | Iterable[Mapping[str, Any]],
        policy: Policy,
        speed: float,
        clock: Callable[[], float] | None,
        now: datetime | Callable[[], datetime] | None,
    ) -> None:
        check_seconds("speed", speed)
        if clock is not None and not callable(clock):
            raise ValueError("clock must be a callable that returns seconds")
        self.policy = policy
        self.requests: deque[Seen] = deque(maxlen=100_000)
        self._clock = clock or _monotonic_clock
        self._calendar_clock = clock or _wall_clock
        self._advanced = 0.0
        self._speed = speed
        self._now = now
        self._began_at = self._calendar_clock()
        self._began_on = self._first_moment()
        self._shipments = Shipments(seed, shipments, self._read_calendar)
        self._random = Random(seed)
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._counts: Counter[str] = Counter()
        self._levers: list[_Lever] = []
        self._own_answers: dict[tuple[str, str], Answer] = {}
        self._unasked: dict[tuple[str, str], None] = {}
        self._tokens: dict[str, float] = {}
        self._wrong_passwords = 0
        self._locked_until = 0.0

    # Time

    def _time(self) -> float:
        """Return the moment, in seconds, by which tokens end."""
        return self._clock() + self._advanced

    def _first_moment(self) -> datetime:
        """Return the moment at which the shipments begin."""
        if self._now is None:
            return datetime.fromtimestamp(time.time(), UTC)
        if callable(self._now):
            return _checked_moment(self._now())
        return _checked_moment(self._now)

    def _read_calendar(self) -> datetime:
        """Return the moment, as a date, at which the shipments are."""
        advanced = timedelta(seconds=self._advanced * self._speed)
        if callable(self._now):
            return _checked_moment(self._now()) + advanced
        passed = (self._calendar_clock() - self._began_at) * self._speed
        return self._began_on + timedelta(seconds=passed) + advanced

    # Requests

    def _answer(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: bytes,
    ) -> Answer | None:
        """Return the answer to a request; ``None`` closes the connection instead.

        Counts the request, takes the time that it is told to, and keeps what arrived.
        """
        try:
            parts = urlsplit(url)
            values = parse_qs(parts.query, keep_blank_values=True)
        except ValueError as error:
            return error_answer(400, f"Invalid URL: {error}")
        path = parts.path
        query = {name: found[-1] for name, found in values.items()}
        where: Where = "token" if path == _TOKEN_PATH else "api"
        self._take_time(where)
        with self._lock:
            answer = self._pull_lever(where, path)
            if answer is _NO_LEVER:
                answer = self._routed(where, method, path, query, headers, body)
            status = answer.status if answer else 0
            seen = Seen(method, path, query, headers, body, status)
            self.requests.append(seen)
        return answer

    def _take_time(self, where: Where) -> None:
        """Count the request, and let it take as long as it is told to."""
        with self._lock:
            # Read with the count: a test that sees the request counted may set
            # another time for those that follow.
            seconds = self.login_seconds if where == "token" else self.api_seconds
            self._counts[where] += 1
        if seconds:
            self._stopped.wait(seconds)

    def _pull_lever(self, where: Where, path: str) -> Answer | None:
        """Return the answer of the first lever for such a request."""
        for lever in self._levers:
            if lever.where == where and lever.path in path:
                lever.times -= 1
                lever.fired = True
                if lever.times <= 0:
                    self._levers.remove(lever)
                return lever.answer
        return _NO_LEVER

    def _routed(
        self,
        where: Where,
        method: str,
        path: str,
        query: dict[str, str],
        headers: dict[str, str],
        body: bytes,
    ) -> Answer:
        """Return the answer to a request that no lever fails.

        ``where`` is ``"token"`` for the token endpoint, else ``"api"``.
        """
        if not path.startswith(("/v1/", "/v2/")):
            return error_answer(404, f"no resource at {path}; paths begin with /v1")
        if headers.get("x-api-key") != self.api_key:
            return Answer.of(403, {"message": "Forbidden"})
        if where == "token":
            return self._token(method, body)
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if self._time() >= self._tokens.get(token, 0.0):
            return self._refuse_token(token)
        for key in ((method, path), ("", path)):
            if key in self._own_answers:
                self._unasked.pop(key, None)
                return self._own_answers[key]
        if method in ("GET", "HEAD"):
            return self._answer_read(path, query)
        return self._answer_write(method, path, body)

    def _refuse_token(self, token: str) -> Answer:
        """Return the 401 for a token that has ended."""
        self._counts["refused"] += 1
        # Spring's own text repeats the token.
        text = f"Access token expired: {token}"
        return Answer.of(401, {"error": "invalid_token", "error_description": text})

    # The token endpoint

    def _token(self, method: str, body: bytes) -> Answer:
        """Return the answer to a token request."""
        credentials = _read_token_request(body)
        if method != "POST" or credentials is None:
            return Answer.of(400, {"error": "invalid_request"})
        now = self._time()
        if now < self._locked_until:
            return _invalid_grant("User account is locked")
        if credentials != (self.username, self.password):
            self._count_wrong_password(now)
            return _invalid_grant("Bad credentials")
        self._wrong_passwords = 0
        self._counts["logins"] += 1
        return Answer.of(200, self._grant(now))

    def _count_wrong_password(self, now: float) -> None:
        """Lock the account after too many wrong passwords in a row."""
        self._wrong_passwords += 1
        if self._wrong_passwords >= LOCKED_AFTER:
            self._wrong_passwords = 0
            self._locked_until = now + LOCKED_FOR

    def _grant(self, now: float) -> JsonObject:
        """Return the token response of a login at the moment ``now``."""
        token = self._choose_token(now)
        refresh = f"3b_-{self._uuid()}"
        tenant = {"busId": "200001", "displayName": "Broker", "ref": "b1"}
        return {
            "access_token": token,
            "token_type": "Bearer",
            "refresh_token": refresh,
            "expires_in": int(self._tokens[token] - now),
            "scope": "trust read write",
            "busId": "200001",
            "busName": "Broker",
            "tenant_ref": "b1",
            "userId": 100001,
            "email": self.username,
            "linkedTenants": [{**tenant, "token": token, "refreshToken": refresh}],
        }

    def _choose_token(self, now: float) -> str:
        """Return a new token, or the one that is alive, as the policy says."""
        alive = [token for token in self._tokens if now < self._tokens[token]]
        if self.policy == "same" and alive:
            return alive[-1]
        if self.policy == "revoke":
            self._tokens.clear()
        token = f"3b_-{self._uuid()}"
        self._tokens[token] = now + self.token_life
        return token

    def _uuid(self) -> str:
        """Return a random UUID that follows from the seed."""
        number = self._random.getrandbits(128)
        return str(UUID(int=number))

    # The API

    def _answer_read(self, path: str, query: Query) -> Answer:
        """Return the answer to a GET."""
        if path == "/v1/shipments/list":
            return self._list_shipments(query)
        if path in _OTHER_LISTS:
            return _other_list(*_OTHER_LISTS[path])
        if _fits(path, "/v2/accounts/*/list"):
            return _other_list("accounts", ("Broker",))
        if _fits(path, "/v1/shipments/*"):
            identity = path.removeprefix("/v1/shipments/")
            return _answer_shipment(self._shipments.find_details(identity))
        return _no_resource(path)

    def _list_shipments(self, query: Query) -> Answer:
        """Return a page of shipments, or the error in the query."""
        try:
            return success_answer(self._shipments.list_page(query))
        except ValueError as error:
            return error_answer(400, f"Invalid query: {error}")

    def _answer_write(self, method: str, path: str, body: bytes) -> Answer:
        """Return the answer to whatever is not a GET. What is changed sticks."""
        identity = _written_shipment(path)
        if identity and method in ("PUT", "PATCH"):
            return self._change_shipment(identity, body)
        if method == "POST" and path in _ACCEPTING_PATHS:
            return success_answer({"received": len(body)})
        if identity or path in _ACCEPTING_PATHS:
            return error_answer(405, f"FakeTurvo has no {method} of {path}: {_OWN}")
        return _no_resource(path)

    def _change_shipment(self, identity: str, body: bytes) -> Answer:
        """Return the shipment as changed, or the error in the body."""
        try:
            asked = json.loads(body)
            shipment = self._shipments.change(identity, asked)
        except (ValueError, RecursionError) as error:
            return error_answer(400, f"Invalid change: {error}")
        return _answer_shipment(shipment)


def success_answer(details: JsonObject) -> Answer:
    """Return Turvo's envelope around ``details``."""
    return Answer.of(200, {"Status": "SUCCESS", "details": details})


def error_answer(status: int, message: str) -> Answer:
    """Return an error as Turvo's API tells it."""
    details = {"errorMessage": message, "errorCode": str(status)}
    return Answer.of(status, {"Status": "ERROR", "details": details})


def _no_resource(path: str) -> Answer:
    """Return the answer for a path that does not exist."""
    return error_answer(404, f"no resource at {path}")


def _answer_shipment(shipment: JsonObject | None) -> Answer:
    """Return a shipment, or the answer for one that does not exist."""
    if shipment is None:
        return error_answer(404, "Shipment not found")
    return success_answer(shipment)


def _invalid_grant(description: str) -> Answer:
    """Return the refusal of a token request."""
    error = {"error": "invalid_grant", "error_description": description}
    return Answer.of(400, error)


def _read_token_request(body: bytes) -> tuple[object, object] | None:
    """Return username and password, or ``None`` for an incomplete request."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(asked, dict):
        return None
    told = {name: asked.get(name) for name in _TOKEN_REQUEST}
    if told != _TOKEN_REQUEST:
        return None
    return asked.get("username"), asked.get("password")


def _other_list(key: str, names: tuple[str, ...]) -> Answer:
    """Return a whole list on one page; its rows have an id and a name."""
    rows = [
        {"id": number, "name": name} for number, name in enumerate(names, 1_000_001)
    ]
    size = len(rows)
    return success_answer(page_details(key, rows, 0, size, size))


def _written_shipment(path: str) -> str:
    """Return the id in a path that changes a shipment, or ``""``.

    Clients use two forms for its status.
    """
    parts = path.split("/")
    if _fits(path, "/v1/shipments/status/*"):
        return parts[4]
    if _fits(path, "/v1/shipments/*/status") or _fits(path, "/v1/shipments/*"):
        return parts[3]
    return ""


def _fits(path: str, pattern: str) -> bool:
    """Tell whether a path has the form of ``pattern``; ``*`` is one part of it."""
    form = re.escape(pattern).replace(r"\*", "[^/]+")
    return re.fullmatch(form, path) is not None


def _checked_moment(moment: datetime) -> datetime:
    """Return a moment in UTC, or raise ``ValueError``."""
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise ValueError("now must be a datetime with a time zone")
    return moment.astimezone(UTC)


def _monotonic_clock() -> float:
    """Return seconds that freezegun moves; looked up at the call, so that it can."""
    return time.monotonic()


def _wall_clock() -> float:
    """Return the time of day, which freezegun and time-machine move."""
    return time.time()
