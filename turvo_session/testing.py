"""``FakeTurvo``: the Turvo API as a server on this machine, for tests, examples and a first look.

It speaks what is known of Turvo's token endpoint and of its shipments: both token policies, the
API key, the lockout, paging with its cap, statuses that move with time. Its levers make it fail on
purpose, and it tells what it saw. Everything it invents follows from ``seed``.

::

    def test_my_script():
        with FakeTurvo() as turvo:
            session = TurvoSession(TurvoAuth.from_env(turvo.environ))
            assert session.get("/shipments/list").json()["Status"] == "SUCCESS"
            turvo.revoke()
            assert session.get("/shipments/list").ok
            assert turvo.logins == 2
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from bisect import bisect
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import accumulate
from random import Random
from typing import Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

PAGE_CAP = 24
LOCKED_AFTER = 10
LOCKED_FOR = 900.0
EN_ROUTE = "2105"

# The way of a shipment: status key, its name, and how many hours it lasts, from and to.
_WAY = (
    ("2101", "Tendered", 1, 4),
    ("2102", "Covered", 2, 8),
    ("2103", "Dispatched", 1, 4),
    ("2104", "At pickup", 1, 3),
    (EN_ROUTE, "En route", 8, 48),
    ("2106", "At delivery", 1, 3),
    ("2107", "Delivered", 12, 48),
    ("2112", "Completed", 1, 1),
)
_SHIPPERS = ("Northfield Foods", "Acme Paper", "Harbor Steel", "Prairie Mills", "Blue Ridge Dairy")
_CARRIERS = ("Redline Freight", "Summit Haulers", "Lakeshore Trucking", "Old Mill Transport")
_CITIES = ("Chicago, IL", "Dallas, TX", "Atlanta, GA", "Denver, CO", "Columbus, OH", "Fresno, CA")

# What lists can be filtered by (Turvo's own list), and how; here all but these is an error, so that a
# mistyped filter, which would pass all rows, is found by a test.
_FILTERS = {
    "status": ("eq",),
    "updated": ("gte",),
    "created": ("gte", "lte"),
    "pickupDate": ("gte", "lte"),
    "deliveryDate": ("gte", "lte"),
    "customId": ("eq",),
    "customerId": ("eq",),
}
_TESTS: dict[str, Callable[[str, str], bool]] = {
    "eq": str.__eq__,
    "gte": str.__ge__,
    "lte": str.__le__,
}

Where = Literal["token", "api"]


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that arrived, and the status that it was answered with (0: none)."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    status: int


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, status: int, value: object, **headers: str) -> _Answer:
        return cls(
            status,
            json.dumps(value).encode(),
            (("Content-Type", "application/json"), *headers.items()),
        )


@dataclass(slots=True)
class _Lever:
    where: Where
    path: str
    times: float
    answer: _Answer | None  # None: drop the connection


class FakeTurvo:
    """A local Turvo. Use it as a context manager; ``environ`` is what ``TurvoAuth.from_env`` needs.

    ``policy``: ``"fresh"`` gives a new token at every login, ``"same"`` the old one until it is over,
    as Spring Security does. ``token_life``, and ``login_seconds`` and ``api_seconds`` (how long a login
    and any other answer take; set them anew at any time) are seconds; ``speed`` is how many
    simulated seconds pass for the shipments in one of ``clock``.
    """

    username = "dispatcher@broker.example"
    password = "correct horse battery staple"
    api_key = "fake-api-key-0001"

    def __init__(
        self,
        *,
        seed: int = 0,
        shipments: int = 60,
        policy: Literal["fresh", "same"] = "fresh",
        token_life: float = 43199.0,
        login_seconds: float = 0.0,
        api_seconds: float = 0.0,
        speed: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        port: int = 0,
    ) -> None:
        self.policy = policy
        self.token_life = token_life
        self.login_seconds = login_seconds
        self.api_seconds = api_seconds
        self.requests: deque[Seen] = deque(maxlen=100_000)
        self._seed = seed
        self._shipments = shipments
        self._speed = speed
        self._clock = clock
        self._start = clock()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._tokens: dict[str, float] = {}
        self._random = Random(seed)
        self._levers: list[_Lever] = []
        self._counts: Counter[str] = Counter()
        self._wrong_passwords = 0
        self._locked_until = 0.0
        self._server = _Server(("127.0.0.1", port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()
        self._thread.join()

    @property
    def base_url(self) -> str:
        """Its ``TURVO_BASE_URL``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def environ(self) -> dict[str, str]:
        """The variables that make ``TurvoAuth.from_env`` log in here; add a ``REDIS_URL`` to share the token."""
        return {
            "TURVO_BASE_URL": self.base_url,
            "TURVO_API_KEY": self.api_key,
            "TURVO_USERNAME": self.username,
            "TURVO_PASSWORD": self.password,
        }

    # What it saw

    @property
    def logins(self) -> int:
        """Token requests that were answered with a token."""
        return self._counts["logins"]

    @property
    def token_requests(self) -> int:
        """Token requests that arrived, whatever came of them."""
        return self._counts["token"]

    @property
    def api_requests(self) -> int:
        """All other requests that arrived."""
        return self._counts["api"]

    @property
    def refused(self) -> int:
        """Requests that were answered with a 401 for their token."""
        return self._counts["refused"]

    # Levers

    def revoke(self) -> None:
        """End the life of every token that was given out."""
        with self._lock:
            self._tokens.clear()

    def fail_next(
        self,
        status: int,
        *,
        where: Where = "api",
        times: float = 1,
        path: str = "",
        body: bytes | str = b"",
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    ) -> None:
        """Answer the next ``times`` requests with ``status``; ``path``: those whose path contains it."""
        raw = body.encode() if isinstance(body, str) else bytes(body)
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        self._pull(
            _Lever(where, path, times, _Answer(status, raw, tuple((name, value) for name, value in pairs)))
        )

    def throttle(self, retry_after: str, *, where: Where = "api", times: float = 1) -> None:
        """Answer 429 with this ``Retry-After`` (seconds, a date, or junk)."""
        body = json.dumps({"message": "Too Many Requests"})
        self.fail_next(429, where=where, times=times, body=body, headers=[("Retry-After", retry_after)])

    def redirect_next(
        self, location: str, *, status: int = 302, where: Where = "api", times: float = 1, path: str = ""
    ) -> None:
        """Send the next requests elsewhere."""
        self.fail_next(status, where=where, times=times, path=path, headers=[("Location", location)])

    def drop_next(self, *, where: Where = "api", times: float = 1) -> None:
        """Close the connection without an answer."""
        self._pull(_Lever(where, "", times, None))

    def heal(self) -> None:
        """Take back every lever that is still pulled."""
        with self._lock:
            self._levers.clear()

    def _pull(self, lever: _Lever) -> None:
        if not lever.times >= 1:
            raise ValueError(f"times: {lever.times} is less than once")
        with self._lock:
            self._levers.append(lever)

    # The API

    def _answer(self, method: str, url: str, headers: dict[str, str], body: bytes) -> _Answer | None:
        parts = urlsplit(url)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        where: Where = "token" if parts.path == "/v1/oauth/token" else "api"
        with self._lock:  # once it is counted, it takes what it takes
            seconds = self.login_seconds if where == "token" else self.api_seconds
            self._counts[where] += 1
        if seconds:
            self._stopped.wait(seconds)
        with self._lock:
            answer = self._pulled(where, parts.path)
            if answer is _NO_LEVER:
                answer = self._routed(where, method, parts.path, query, headers, body)
            status = answer.status if answer else 0
            self.requests.append(Seen(method, parts.path, query, headers, body, status))
        return answer

    def _pulled(self, where: Where, path: str) -> _Answer | None:
        for lever in self._levers:
            if lever.where == where and lever.path in path:
                lever.times -= 1
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
    ) -> _Answer:
        if not path.startswith("/v1/"):
            return _error(404, f"no resource at {path}; all of them are below /v1")
        if headers.get("x-api-key") != self.api_key:
            return _Answer.of(403, {"message": "Forbidden"})
        if where == "token":
            return self._token(method, body)
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if self._clock() >= self._tokens.get(token, 0.0):
            self._counts["refused"] += 1
            text = f"Access token expired: {token}"  # Spring's own text holds the token
            return _Answer.of(401, {"error": "invalid_token", "error_description": text})
        parent, _, last = path.rpartition("/")
        if parent == "/v1/shipments" and method == "GET" and last == "list":
            return self._page(query)
        if parent == "/v1/shipments" and method == "GET" and last.isdecimal():
            return self._detail(int(last) - 900_000_000)
        if "/v1/shipments" in (path, parent) and method != "GET":
            return _Answer.of(200, {"Status": "SUCCESS", "details": {"received": len(body)}})
        return _error(404, f"no resource at {path}")

    def _token(self, method: str, body: bytes) -> _Answer:
        try:
            asked = json.loads(body)
            credentials = (asked["username"], asked["password"])
            expected = ("password", "publicapi", "secret", "read+trust+write", "business")
            names = ("grant_type", "client_id", "client_secret", "scope", "type")
            complete = tuple(asked[name] for name in names) == expected
        except (ValueError, KeyError, TypeError, RecursionError):
            complete = False
        if method != "POST" or not complete:
            return _Answer.of(400, {"error": "invalid_request"})
        now = self._clock()
        if now < self._locked_until:
            return _Answer.of(400, {"error": "invalid_grant", "error_description": "User account is locked"})
        if credentials != (self.username, self.password):
            self._wrong_passwords += 1
            if self._wrong_passwords >= LOCKED_AFTER:
                self._wrong_passwords, self._locked_until = 0, now + LOCKED_FOR
            return _Answer.of(400, {"error": "invalid_grant", "error_description": "Bad credentials"})
        self._wrong_passwords = 0
        self._counts["logins"] += 1
        return _Answer.of(200, self._grant(now))

    def _grant(self, now: float) -> dict[str, Any]:
        alive = [token for token, end in self._tokens.items() if now < end]
        if self.policy == "same" and alive:
            token = alive[-1]
        else:
            token = f"3b_-{self._uuid()}"
            self._tokens[token] = now + self.token_life
        refresh = f"3b_-{self._uuid()}"
        linked = {"busId": "200001", "displayName": "Broker", "ref": "b1", "token": token}
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
            "linkedTenants": [{**linked, "refreshToken": refresh}],
        }

    def _uuid(self) -> str:
        digits = f"{self._random.getrandbits(128):032x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    # The shipments

    def _page(self, query: dict[str, str]) -> _Answer:
        try:
            tests = [_test(name, wanted) for name, wanted in query.items() if "[" in name]
            start, size = _whole(query, "start", 0), _whole(query, "pageSize", PAGE_CAP)
        except ValueError as error:
            return _error(400, f"Invalid query: {error}")
        size = max(1, min(size, PAGE_CAP))
        facts = ((self._row(index), self._delivery(index)) for index in range(self._shipments))
        rows = [row for row, delivery in facts if all(test(_values(row, delivery)) for test in tests)]
        page = rows[start : start + size]
        paging = {
            "start": start + len(page),
            "pageSize": size,
            "totalRecordsInPage": len(page),
            "moreAvailable": start + size < len(rows),
            "lastObjectKey": None,
        }
        details: dict[str, Any] = {"pagination": paging}
        if page:
            details["shipments"] = page
        return _Answer.of(200, {"Status": "SUCCESS", "details": details})

    def _detail(self, number: int) -> _Answer:
        if not 1 <= number <= self._shipments:
            return _error(404, "Shipment not found")
        row = self._row(number - 1)
        random = Random(f"{self._seed}:{number}:detail")
        origin, destination = random.sample(_CITIES, 2)
        done = int(row["status"]["code"]["key"]) > int(EN_ROUTE)
        row["globalRoute"] = [
            _stop("1500", "Pickup", origin, row["created"], done or row["status"]["code"]["key"] == EN_ROUTE),
            _stop("1501", "Delivery", destination, self._delivery(number - 1), done),
        ]
        phone = {"number": f"555-01{random.randrange(100):02d}", "isPrimary": True}
        row["carrierOrder"][-1]["drivers"] = [
            {"context": {"id": 1, "name": "J. Driver"}, "phone": phone, "deleted": False}
        ]
        return _Answer.of(200, {"Status": "SUCCESS", "details": row})

    def _delivery(self, index: int) -> str:
        """When it is to arrive: there are always some hours to go."""
        return self._moment(self._hours() + Random(f"{self._seed}:{index}:delivery").uniform(1, 30))

    def _row(self, index: int) -> dict[str, Any]:
        """A shipment as it is now: it goes its way, and begins again as another one's double."""
        random = Random(f"{self._seed}:{index}")
        spans = [random.uniform(low, high) for _, _, low, high in _WAY]
        ends = list(accumulate(spans))
        head_start = random.uniform(0, ends[-1])
        lap, elapsed = divmod(self._hours() + head_start, ends[-1])
        step = min(bisect(ends, elapsed), len(_WAY) - 1)
        key, name, _, _ = _WAY[step]
        born = lap * ends[-1] - head_start  # of it all times are counted: nothing moves that has not changed
        created = self._moment(born)
        updated = self._moment(born + ends[step] - spans[step])
        return {
            "id": 900_000_001 + index,
            "customId": f"L{10_001 + index}",
            "created": created,
            "updated": updated,
            "lastUpdatedOn": updated,
            "status": {"code": {"key": key, "value": name}},
            "customerOrder": [
                {
                    "id": 800_000_001 + index,
                    "deleted": False,
                    "customer": {"id": 7_000_001, "name": random.choice(_SHIPPERS)},
                }
            ],
            "carrierOrder": [
                {
                    "id": 810_000_001 + index,
                    "deleted": True,
                    "carrier": {"id": 6_000_001, "name": "Old Carrier"},
                },
                {
                    "id": 820_000_001 + index,
                    "deleted": False,
                    "carrier": {"id": 6_000_002, "name": random.choice(_CARRIERS)},
                },
            ],
        }

    def _hours(self) -> float:
        return (self._clock() - self._start) * self._speed / 3600

    def _moment(self, hours: float) -> str:
        moment = datetime(2026, 1, 2, 22, 24, 31, tzinfo=UTC) + timedelta(hours=hours)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


_NO_LEVER = _Answer(-1)


def _error(status: int, message: str) -> _Answer:
    details = {"errorMessage": message, "errorCode": str(status)}
    return _Answer.of(status, {"Status": "ERROR", "details": details})


def _whole(query: dict[str, str], name: str, default: int) -> int:
    value = query.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise ValueError(f"{name} is no whole number, 0 or more")
    return int(value)


def _stop(key: str, kind: str, city: str, when: str, done: bool) -> dict[str, Any]:
    return {
        "stopType": {"key": key, "value": kind},
        "state": "COMPLETED" if done else "OPEN",
        "address": {"city": city},
        "appointment": {"date": when},
        "etaToStop": {"etaValue": None if done else when},
        "deleted": False,
    }


def _values(row: dict[str, Any], delivery: str) -> dict[str, str]:
    """What a row is filtered by; times compare as text, being all of one form."""
    return {
        "status": row["status"]["code"]["key"],
        "updated": row["updated"],
        "created": row["created"],
        "pickupDate": row["created"],
        "deliveryDate": delivery,
        "customId": row["customId"],
        "customerId": str(row["customerOrder"][0]["customer"]["id"]),
    }


def _test(name: str, wanted: str) -> Callable[[dict[str, str]], bool]:
    field, _, operator = name.removesuffix("]").partition("[")
    if operator not in _FILTERS.get(field, ()):
        raise ValueError(f"there is no filter {name}")
    return lambda values: _TESTS[operator](values[field], wanted)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], turvo: FakeTurvo) -> None:
        self.turvo = turvo
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        for request in list(self._open):
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error of the server's."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def _handle(self) -> None:
        body = self._body()
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.turvo._answer(self.command, self.path, headers, body)
        if answer is None:
            self.close_connection = True
            return
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _handle

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: what was seen is in ``FakeTurvo.requests``."""
