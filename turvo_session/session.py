"""``TurvoSession``: a ``requests.Session`` that knows where Turvo is, waits no longer than it should, and pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from urllib3.exceptions import InvalidHeader, MaxRetryError, ReadTimeoutError
from urllib3.util import Retry

from .auth import TurvoAuth
from .errors import TurvoResponseError
from .replay import KEY_HEADER, replayable
from .secret import Secret

PAGE_SIZE = 24
"""Turvo gives no more rows a page, whatever is asked."""
PAGE_CAP = 10_000
"""Pages after which a list is taken to have no end."""
PATIENCE = 30.0
"""The longest ``Retry-After``, in seconds, that a request waits for by itself; else its answer is returned."""


class TurvoSession(Session):
    """A session for Turvo's API: ``TurvoSession.from_env().get("/shipments/list")``.

    A path is joined to the base URL; a whole URL is left alone. ``timeout``: seconds to connect
    and to read, for requests that name none. ``retries``: how often a request is sent again that
    met a lost connection or a 429, 502, 503 or 504, methods that change nothing twice only (RFC
    9110 section 9.2.2), with back-off or the server's ``Retry-After``. The last answer is returned;
    it is the first one, if that asks for more than 30 s. A read timeout is the caller's at once.
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
            _Patience(
                total=retries,
                status_forcelist=(429, 502, 503, 504),
                backoff_factor=0.5,
                raise_on_status=False,
            )
        )
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **options: Any) -> TurvoSession:
        """A session with ``TurvoAuth.from_env()``; ``options`` are its own. Raises ``SettingsError``."""
        variables, arguments = Secret(environ), Secret(options)
        del environ, options  # tracebacks show locals
        return cls(TurvoAuth.from_env(variables.reveal()), **arguments.reveal())

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **options: Any) -> Response:
        """As in ``requests``, with a path for a URL and the session's timeout."""
        options.setdefault("timeout", self.timeout)
        return super().request(method, self._whole(url), *args, **options)  # type: ignore[arg-type]

    def send(self, request: PreparedRequest, **options: Any) -> Response:
        """As in ``requests``, with the session's timeout also for what was prepared by hand."""
        options.setdefault("timeout", self.timeout)
        return super().send(request, **options)

    def _whole(self, url: str | bytes) -> str:
        url = url.decode() if isinstance(url, bytes) else url
        if "://" in url.partition("?")[0]:
            return url
        base_url = self.auth.base_url
        version = base_url.rpartition("/")[2]  # Turvo's pages write paths with it, people without
        return f"{base_url}/{url.removeprefix('/').removeprefix(f'{version}/')}"

    def records(
        self, path: str, key: str, params: Mapping[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Every row of a list of Turvo's, page by page as they are needed; ``key`` is e.g. ``"shipments"``.

        Each row once, though rows move while one pages; rows marked ``deleted`` are left out. Raises
        ``TurvoResponseError`` for a ``Status`` other than ``SUCCESS`` and for an answer without such a
        list, and what a request raises.
        """
        asked = {"start": 0, "pageSize": PAGE_SIZE, **(params or {})}
        asked["start"] = int(asked["start"])
        seen: set[object] = set()
        for _ in range(PAGE_CAP):
            details = _details(self.get(path, params=asked))
            rows, paging = _page(path, key, details)
            for row in rows:
                identity = row.get("id")
                if identity not in seen and not row.get("deleted"):
                    yield row
                if identity is not None:
                    seen.add(identity)
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


class _Patience(Retry):
    """Hands back to the caller what it is not for us to wait for."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: Any = None,
        error: Exception | None = None,
        _pool: Any = None,
        _stacktrace: Any = None,
    ) -> Self:
        """What is left of it after an ``error`` or a ``response``; raises where nothing is to be tried again."""
        if isinstance(error, ReadTimeoutError):
            raise error
        if response is not None and (self.get_retry_after(response) or 0.0) > PATIENCE:
            raise MaxRetryError(_pool, url or "")
        return super().increment(method, url, response, error, _pool, _stacktrace)

    def get_retry_after(self, response: Any) -> float | None:
        """Seconds; ``None`` where nothing is told, or junk."""
        try:
            return super().get_retry_after(response)
        except (InvalidHeader, ValueError, OverflowError):
            return None


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
    message = without_secrets(details.get("errorMessage") or "no errorMessage", response)
    code = without_secrets(details.get("errorCode") or response.status_code, response)
    del answer, details
    raise TurvoResponseError(f"{where}: Turvo says {message!r} (code {code})", code=code, message=message)


def _page(path: str, key: str, details: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows of a page, and what it tells of the next one."""
    rows, paging = details.get(key) or [], details.get("pagination") or {}
    if not isinstance(paging, dict):
        raise TurvoResponseError(f"{path}: what is at 'pagination' is none", code="pagination")
    if not isinstance(rows, list) or not all(map(_is_record, rows)):
        raise TurvoResponseError(f"{path}: what is at {key!r} is no list of records", code="key")
    # A list without rows is left out by Turvo; but one of another name, or a single record, is a mistake.
    if key not in details and details and (paging.get("totalRecordsInPage") or "pagination" not in details):
        there = ", ".join(repr(name) for name, value in details.items() if isinstance(value, list))
        raise TurvoResponseError(f"{path}: there is no list {key!r}, but: {there or 'none'}", code="key")
    return rows, paging


def _is_record(row: object) -> bool:
    return isinstance(row, dict) and isinstance(row.get("id"), int | str | None)


def without_secrets(told: object, response: Response) -> str:
    """What Turvo tells in an answer, as text, without the tokens and the key that it was sent."""
    text = str(told)
    for answer in (response, *response.history):
        headers = answer.request.headers
        token = str(headers.get("Authorization", "")).removeprefix("Bearer ")
        for secret in filter(None, (token, str(headers.get(KEY_HEADER, "")))):
            text = text.replace(secret, "***")
    return text
