"""``FakeTurvo``: the Turvo API as a local server, for the tests of your script.

It speaks what is known of Turvo's token endpoint and of its shipments: the token
policies, the API key, the lockout, paging with its cap, statuses that move with time.
Its levers make it fail on purpose, and it counts what it saw.

::

    def test_my_script():
        with FakeTurvo() as turvo:
            session = TurvoSession(TurvoAuth.from_env(turvo.environ))
            assert session.get("/shipments/list").json()["Status"] == "SUCCESS"
            turvo.revoke()
            assert session.get("/shipments/list").ok
            assert turvo.logins == 2

**Time.** Dates begin today; ``now=`` fixes the day. Shipments move with the time of
day, tokens end by the monotonic clock: freezegun moves both, together with your script,
and time-machine moves the shipments. ``advance(seconds)`` moves ``FakeTurvo`` alone,
whatever the clocks say, as if Turvo had ended the token early. ``clock=`` is a clock of
your own, for both.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Self, get_args

from .api import (
    LOCKED_AFTER,
    LOCKED_FOR,
    Answer,
    Headers,
    Policy,
    Seen,
    TurvoApi,
    Where,
    _Lever,
    header_pairs,
)
from .checks import (
    METHODS,
    check_choice,
    check_number,
    check_seconds,
    check_status,
    path_as_sent,
)
from .lists import PAGE_CAP
from .server import LocalServer
from .shipments import EN_ROUTE

__all__ = [
    "EN_ROUTE",
    "LOCKED_AFTER",
    "LOCKED_FOR",
    "PAGE_CAP",
    "FakeTurvo",
    "Seen",
    "Where",
]

_Answer = Answer


class FakeTurvo(TurvoApi):
    """A local Turvo, to be used in a ``with`` block.

    ``TurvoAuth.from_env(turvo.environ)`` logs in to it.

    Args:
        seed: Another number gives other tokens and shipments; the same number, with the
            same ``now``, gives the same.
        shipments: How many shipments to invent, or a list of your own: ``dict`` objects
            in the shape of Turvo's details. What they leave out is invented.
        policy: What a login gives while a token is alive. ``"fresh"``: another one
            beside it. ``"same"``: that one again, with what is left of its life.
            ``"revoke"``: another one, which ends it. May be set at any time.
        token_life: Seconds. May be set at any time.
        login_seconds: How long a login takes. May be set at any time.
        api_seconds: How long any other answer takes. May be set at any time.
        speed: Seconds that pass for the shipments in one second of the clock.
        clock: Returns seconds. It moves tokens and shipments.
        now: The moment, with a time zone, at which the shipments begin, or a callable
            that returns their present moment. Without it they begin now.
        port: Where to listen; any free port by default.

    Raises ``ValueError`` or ``TypeError`` for an argument that makes no sense, and
    ``OSError`` on entering the ``with`` block if the port is taken.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        shipments: int | Iterable[Mapping[str, Any]] = 60,
        policy: Policy = "fresh",
        token_life: float = 43199.0,
        login_seconds: float = 0.0,
        api_seconds: float = 0.0,
        speed: float = 1.0,
        clock: Callable[[], float] | None = None,
        now: datetime | Callable[[], datetime] | None = None,
        port: int = 0,
    ) -> None:
        super().__init__(
            seed=seed,
            shipments=shipments,
            policy=policy,
            speed=speed,
            clock=clock,
            now=now,
        )
        check_number("port", port, 0, 65535, whole=True)
        self.token_life = token_life
        self.login_seconds = login_seconds
        self.api_seconds = api_seconds
        self._wanted_port = port
        self._server: LocalServer | None = None

    def __enter__(self) -> Self:
        self._stopped.clear()
        self._server = LocalServer(self._wanted_port, self._serve)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._running_server().stop_listening()

    def _serve(
        self, method: str, url: str, headers: dict[str, str], body: bytes
    ) -> Answer | None:
        # Looked up for each request, so that a test may replace ``_answer``.
        return self._answer(method, url, headers, body)

    def _running_server(self) -> LocalServer:
        """Return the server, or raise ``RuntimeError`` before the ``with`` block."""
        if self._server is None:
            raise RuntimeError(
                "FakeTurvo must be started: use it as `with FakeTurvo() as turvo:`"
            )
        return self._server

    @property
    def base_url(self) -> str:
        """Its ``TURVO_BASE_URL``. Raises ``RuntimeError`` before the ``with`` block."""
        return f"http://127.0.0.1:{self._running_server().server_address[1]}/v1"

    @property
    def environ(self) -> dict[str, str]:
        """The variables with which ``TurvoAuth.from_env`` logs in here.

        Add a ``REDIS_URL`` to share the token. Raises ``RuntimeError`` before the
        ``with`` block.
        """
        return {
            "TURVO_BASE_URL": self.base_url,
            "TURVO_API_KEY": self.api_key,
            "TURVO_USERNAME": self.username,
            "TURVO_PASSWORD": self.password,
        }

    # What it saw

    @property
    def logins(self) -> int:
        """How many token requests were answered with a token."""
        return self._counts["logins"]

    @property
    def token_requests(self) -> int:
        """How many token requests arrived, whatever their answer."""
        return self._counts["token"]

    @property
    def api_requests(self) -> int:
        """How many other requests arrived."""
        return self._counts["api"]

    @property
    def refused(self) -> int:
        """How many requests were answered with 401 because of their token."""
        return self._counts["refused"]

    # Answers and time

    def answer(
        self,
        path: str,
        json: object,
        *,
        method: str = "",
        status: int = 200,
        headers: Headers = (),
    ) -> None:
        """Answer every request to ``path`` with ``json`` from now on.

        ``path`` is e.g. ``/orders/1`` or ``/v2/accounts/parent/list``, without a query.
        ``method`` limits it to e.g. ``"GET"``. The API key and the token are still
        checked. A second call for the same path and method replaces the first. Raises
        ``ValueError`` for the token endpoint (see ``fail_next``), for an unknown method
        or status, and ``TypeError`` for what is not JSON.
        """
        whole_path = _whole_path(path)
        check_choice("method", method.upper(), ("", *METHODS))
        check_status(status)
        content = Answer.of(status, json)
        pairs = (*content.headers, *header_pairs(headers))
        answer = Answer(status, content.body, pairs)
        key = (method.upper(), whole_path)
        with self._lock:
            self._own_answers[key] = answer
            self._unasked[key] = None

    def advance(self, seconds: float) -> None:
        """Let time pass here, and only here: tokens end, shipments move."""
        check_seconds("seconds", seconds)
        with self._lock:
            self._advanced += seconds

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
        headers: Headers = (),
    ) -> None:
        """Answer the next ``times`` requests with ``status``.

        ``where`` is ``"token"`` or ``"api"``; ``path`` limits it to requests whose path
        contains this. ``float("inf")`` times lasts until ``heal``.
        """
        check_status(status)
        if not isinstance(body, bytes | str):
            raise TypeError("body must be bytes or str")
        raw = body.encode() if isinstance(body, str) else body
        answer = Answer(status, raw, header_pairs(headers))
        self._add_lever(where, path, times, answer)

    def throttle(
        self, retry_after: str | float, *, where: Where = "api", times: float = 1
    ) -> None:
        """Answer 429 with this ``Retry-After``: seconds, a date, or nonsense."""
        self.fail_next(
            429,
            where=where,
            times=times,
            body=json.dumps({"message": "Too Many Requests"}),
            headers=[("Retry-After", str(retry_after))],
        )

    def redirect_next(
        self,
        location: str,
        *,
        status: int = 302,
        where: Where = "api",
        times: float = 1,
        path: str = "",
    ) -> None:
        """Redirect the next requests to ``location``."""
        headers = [("Location", location)]
        self.fail_next(status, where=where, times=times, path=path, headers=headers)

    def drop_next(self, *, where: Where = "api", times: float = 1) -> None:
        """Close the connection of the next requests without an answer."""
        self._add_lever(where, "", times, None)

    def heal(self) -> None:
        """Take back every lever."""
        with self._lock:
            self._levers.clear()

    def assert_levers_fired(self) -> None:
        """Raise ``AssertionError`` for what no request has met since it was set.

        A lever that never fires, or an ``answer`` that nobody asks for, because of a
        misspelt path for example, means that the test tests less than it says. Levers
        that ``heal`` has taken back do not count.
        """
        with self._lock:
            idle = [(one.where, one.path) for one in self._levers if not one.fired]
            unasked = list(self._unasked)
        for what, places in (("levers", idle), ("answers", unasked)):
            if places:
                shown = ", ".join(" ".join(place).strip() for place in places)
                raise AssertionError(f"{what} that no request has met: {shown}")

    def _add_lever(
        self, where: Where, path: str, times: float, answer: Answer | None
    ) -> None:
        """Set a lever, after those that are set already."""
        check_choice("where", where, get_args(Where))
        check_number("times", times, 1, math.inf)
        lever = _Lever(where, path_as_sent(path), times, answer)
        with self._lock:
            self._levers.append(lever)


def _whole_path(path: str) -> str:
    """Return a path with its version; ``/orders/1`` is of version 1."""
    path = path_as_sent(path)
    if not path.startswith("/"):
        raise ValueError("path must begin with /")
    if not path.startswith(("/v1/", "/v2/")):
        path = f"/v1{path}"
    if path == "/v1/oauth/token":
        raise ValueError("path must not be the token endpoint: use fail_next there")
    return path
