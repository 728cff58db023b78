"""``TurvoSession``: a ``requests.Session`` that knows where Turvo is, waits no longer than it should, and pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from .auth import TurvoAuth
from .errors import TurvoResponseError
from .replay import replayable

PAGE_SIZE = 24
"""Turvo gives no more rows a page, whatever is asked."""
PAGE_CAP = 10_000
"""Pages after which a list is taken to have no end."""


class TurvoSession(Session):
    """A session for Turvo's API: ``TurvoSession.from_env().get("/shipments/list")``.

    A path is joined to the base URL; a whole URL is left alone. ``timeout``: seconds to connect
    and to read, for requests that name none. ``retries``: how often a request is sent again that
    met a lost connection or a 429, 502, 503 or 504, methods that change nothing twice only (RFC
    9110 section 9.2.2), with back-off or the server's ``Retry-After``; the last answer is returned.
    """

    __attrs__: list[str] = [  # noqa: RUF012 - as in the base class
        *Session.__attrs__,
        "timeout",
    ]

    def __init__(
        self, auth: TurvoAuth, *, timeout: tuple[float, float] | float | None = (3.05, 30.0), retries: int = 3
    ) -> None:
        super().__init__()
        self.auth: TurvoAuth = auth
        self.timeout = timeout
        # 401 must not be in the list: urllib3 would hide it from the auth.
        adapter = _Retrying(
            Retry(
                total=retries,
                status_forcelist=(429, 502, 503, 504),
                backoff_factor=0.5,
                raise_on_status=False,
            )
        )
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    @classmethod
    def from_env(cls, **options: Any) -> TurvoSession:
        """A session with ``TurvoAuth.from_env()``. Raises ``SettingsError``."""
        return cls(TurvoAuth.from_env(), **options)

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **options: Any) -> Response:
        """As in ``requests``, with a path for a URL and the session's timeout."""
        options.setdefault("timeout", self.timeout)
        return super().request(method, self._whole(url), *args, **options)  # type: ignore[arg-type]

    def _whole(self, url: str | bytes) -> str | bytes:
        if isinstance(url, bytes) or "://" in url.partition("?")[0]:
            return url
        base_url = self.auth.base_url
        version = base_url.rpartition("/")[2]  # Turvo's pages write paths with it, people without
        return f"{base_url}/{url.removeprefix('/').removeprefix(f'{version}/')}"

    def records(
        self, path: str, key: str, params: Mapping[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Every row of a list of Turvo's, page by page as they are needed; ``key`` is e.g. ``"shipments"``.

        Each row once, though rows move while one pages; rows marked ``deleted`` are left out. Raises
        ``TurvoResponseError`` for a ``Status`` other than ``SUCCESS``, and what a request raises.
        """
        asked = {"start": 0, "pageSize": PAGE_SIZE, **(params or {})}
        asked["start"] = int(asked["start"])
        seen: set[object] = set()
        for _ in range(PAGE_CAP):
            details = _details(self.get(path, params=asked))
            rows = details.get(key) or []
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise TurvoResponseError(f"{path}: what is at {key!r} is no list of records", code="key")
            for row in rows:
                identity = row.get("id")
                if identity not in seen and not row.get("deleted"):
                    yield row
                if identity is not None:
                    seen.add(identity)
            paging = details.get("pagination") or {}
            if not rows or not paging.get("moreAvailable"):
                return
            # Turvo tells the offset of the *next* page. One that does not move on would never end.
            following = paging.get("start")
            if not isinstance(following, int) or following <= asked["start"]:
                following = asked["start"] + len(rows)
            asked["start"] = following
        raise TurvoResponseError(
            f"{path}: no end after {PAGE_CAP} pages; narrow the filter", code="paging", message="no end"
        )


class _Retrying(HTTPAdapter):
    """Repeats what can be sent again whole; a generator urllib3 would repeat as an empty body."""

    __attrs__ = [*HTTPAdapter.__attrs__, "_once"]  # noqa: RUF012 - as in the base class

    def __init__(self, retry: Retry) -> None:
        super().__init__(max_retries=retry)
        self._once = HTTPAdapter()

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        """Send it, and again if need be."""
        send = super().send if replayable(request) else self._once.send
        return send(request, *args, **options)

    def close(self) -> None:
        """Let go of the connections."""
        self._once.close()
        super().close()


def _details(response: Response) -> dict[str, Any]:
    """The ``details`` of Turvo's envelope, or the error that it tells."""
    where = f"{response.request.method} {response.url.partition('?')[0]}"
    try:
        answer = response.json()
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or "Status" not in answer:
        del answer  # tracebacks show locals, and a 401 can hold the token
        response.raise_for_status()
        raise TurvoResponseError(f"{where}: the answer is no Turvo answer", code=str(response.status_code))
    details = answer.get("details")
    if not isinstance(details, dict):
        details = {}
    if answer["Status"] == "SUCCESS" and response.ok:
        return details
    message = without_token(details.get("errorMessage") or "no errorMessage", response)
    code = without_token(details.get("errorCode") or response.status_code, response)
    del answer, details
    raise TurvoResponseError(f"{where}: Turvo says {message!r} (code {code})", code=code, message=message)


def without_token(told: object, response: Response) -> str:
    """What Turvo tells in an answer, as text, without the tokens that it was sent, which it may repeat."""
    text = str(told)
    for answer in (response, *response.history):
        if token := str(answer.request.headers.get("Authorization", "")).removeprefix("Bearer "):
            text = text.replace(token, "***")
    return text
