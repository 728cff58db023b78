"""``TurvoSession``: a ``requests.Session`` for Turvo's API.

It joins paths to the base URL, gives every request a timeout, sends a request again
where that is safe, and reads Turvo's envelope and its lists.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from typing import Any, Self, Unpack, cast

from requests import (
    HTTPError,
    PreparedRequest,
    Request,
    RequestException,
    Response,
    Session,
)
from requests.adapters import HTTPAdapter
from requests.exceptions import MissingSchema
from urllib3.exceptions import InvalidHeader, MaxRetryError, ReadTimeoutError
from urllib3.util import Retry

from .auth import TurvoAuth
from .errors import SettingsError, TurvoResponseError
from .origin import same_origin
from .replay import KEY_HEADER, replayable
from .secret import Secret
from .settings import AuthOptions, unknown_options
from .text import printable, quoted

PAGE_SIZE = 24
"""Rows on a page. Turvo gives no more, whatever a request asks for."""
PAGE_CAP = 10_000
"""Pages after which a list is taken to be endless."""
LONGEST_RETRY_AFTER = 30.0
"""The longest ``Retry-After``, in seconds, that a request waits for by itself."""

Row = dict[str, Any]
Timeout = tuple[float, float] | float | None

_NO_AUTH: Any = None
_begins_with_version = re.compile(r"v\d+(?:[/?]|\Z)", re.IGNORECASE).match
_begins_with_host = re.compile(
    r"(?://)?(?:[\w-]+(?:\.[\w-]+)+|localhost)(?::\d+)?/"
).match


class SessionOptions(AuthOptions, total=False):
    """The options of ``TurvoSession.from_env``: its own, and those of ``TurvoAuth``."""

    timeout: Timeout
    retries: int


class TurvoSession(Session):
    """A session for Turvo's API: ``TurvoSession.from_env().get("/shipments/list")``.

    A path is joined to the base URL. One that begins with a version, such as
    ``/v2/accounts``, goes to that version. A whole URL is used as it is, and only the
    origin of the base URL gets the token and the key.

    ``timeout``: seconds to connect and to read, for requests that give none.
    ``retries``: how often a request is sent again after a lost connection, a 429, 502,
    503 or 504. That holds for methods that may be repeated (RFC 9110 section 9.2.2),
    with a growing pause or the server's ``Retry-After``. The last answer is returned,
    or the first one that asks for more than 30 s. A read timeout is raised at once.

    Raises ``SettingsError`` if ``auth`` is not a ``TurvoAuth``.
    """

    __attrs__: list[str] = [  # noqa: RUF012 - as in the base class
        *Session.__attrs__,
        "timeout",
    ]

    def __init__(
        self,
        auth: TurvoAuth = _NO_AUTH,
        *,
        timeout: Timeout = (3.05, 30.0),
        retries: int = 3,
    ) -> None:
        problem = _auth_problem(auth)
        if problem:
            del auth
            raise SettingsError(problem)
        super().__init__()
        self.auth: TurvoAuth = auth
        self.timeout = timeout
        # 401 must not be in the list: urllib3 would hide it from the auth.
        retry = _BoundedRetry(
            total=retries,
            status_forcelist=(429, 502, 503, 504),
            backoff_factor=0.5,
            raise_on_status=False,
        )
        adapter = _RetryingAdapter(retry)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str] | None = None,
        **options: Unpack[SessionOptions],
    ) -> Self:
        """Return a session whose auth is ``TurvoAuth.from_env(environ)``.

        ``options``: ``timeout`` and ``retries`` of the session, and any argument of
        ``TurvoAuth``, such as ``on_event`` or ``username``. Raises ``SettingsError``
        that names every setting that is missing or wrong.
        """
        unknown = unknown_options(options, SessionOptions.__annotations__)
        own: dict[str, Any] = {}
        for name in ("timeout", "retries"):
            if name in options:
                own[name] = cast(dict[str, Any], options).pop(name)
        given = Secret((environ, cast(AuthOptions, options)))
        # Error trackers show the variables of the frames that an exception passes.
        del environ, options
        if unknown:
            raise SettingsError(unknown)
        auth = TurvoAuth.from_env(given.reveal()[0], **given.reveal()[1])
        return cls(auth, **own)

    def request(
        self, method: str | bytes, url: str | bytes, *args: Any, **options: Any
    ) -> Response:
        """Send a request as ``requests`` does; ``url`` may be a path.

        Raises what ``requests`` raises, and ``TurvoAuthError`` if no token can be had.
        """
        options.setdefault("timeout", self.timeout)
        send: Callable[..., Response] = super().request
        return send(method, self._whole_url(url), *args, **options)

    def prepare_request(self, request: Request) -> PreparedRequest:
        """Prepare a request as ``requests`` does."""
        if request.auth is None and self._bypasses_proxies(request.url):
            # Without this, the auth has to fear that a proxy will read the token.
            request = copy(request)
            request.auth = self.auth.put_on_directly
        return super().prepare_request(request)

    def send(self, request: PreparedRequest, **options: Any) -> Response:
        """Send a prepared request as ``requests`` does, with the session's timeout.

        If the base URL is plain http to this machine, no proxy is used for it: the
        token would travel to the proxy in clear text.
        """
        options.setdefault("timeout", self.timeout)
        if self._bypasses_proxies(request.url):
            options["proxies"] = {}
        try:
            return super().send(request, **options)
        except BaseException:
            # Error trackers show the variables of the frames that an exception passes.
            del request
            raise

    def details(self, path: str, **options: Any) -> dict[str, Any]:
        """Return the ``details`` of Turvo's answer to a GET of ``path``.

        ``options`` are those of ``requests.get``, such as ``params``. Turvo answers
        every call with ``{"Status": "SUCCESS", "details": {...}}``.

        Raises ``TurvoResponseError`` for another ``Status``, and for an answer without
        one or with other ``details``; ``requests.HTTPError`` for a 4xx or 5xx without
        one; and what a request raises.
        """
        answer = read_answer(self.get(path, **options), needs_status=True)
        details = answer.get("details") or {}
        if not isinstance(details, dict):
            kind = type(details).__name__
            del answer, details
            raise TurvoResponseError(
                f"GET {quoted(path)}: `details` must be an object, but Turvo sent "
                f"a {kind}",
                code="details",
            )
        return details

    def records(
        self, path: str, key: str, params: Mapping[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows of all pages of a list; each page is fetched when needed.

        ``key`` is the name of the list in ``details``, such as ``"shipments"``. Each
        row comes once, though rows can move while the pages are read, and rows marked
        ``deleted`` are left out. A page without a new row ends the list.

        Raises ``TurvoResponseError`` if the answer has no such list, and what
        ``details()`` raises.
        """
        query = {"start": 0, "pageSize": PAGE_SIZE, **(params or {})}
        query["start"] = int(query["start"])
        seen: set[object] = set()
        last_rows: list[Row] = []
        for _ in range(PAGE_CAP):
            page = _page_of_answer(path, key, self.details(path, params=query))
            new_rows = _unseen_rows(page.rows, seen)
            if not new_rows or page.rows == last_rows:
                return
            for row in new_rows:
                if not row.get("deleted"):
                    yield row
            if not page.has_more:
                return
            last_rows = page.rows
            query["start"] = page.next_start(query["start"])
        raise TurvoResponseError(
            f"{path}: the list has not ended after {PAGE_CAP} pages; narrow the filter",
            code="paging",
            message="no end",
        )

    def _whole_url(self, url: str | bytes) -> str:
        """Return ``url``, joined to the base URL if it is a path."""
        text = url.decode() if isinstance(url, bytes) else url
        if "://" in text.partition("?")[0]:
            return text
        problem = _auth_problem(self.auth)
        if problem:
            # Somebody has replaced the auth since.
            raise SettingsError(problem)
        base_url = self.auth.base_url
        if _begins_with_host(text):
            raise MissingSchema(
                f"{text!r} must be a path such as '/shipments/list', or a whole URL "
                "that begins with https://"
            )
        path = text.removeprefix("/")
        if _begins_with_version(path):
            root, _, _ = base_url.rpartition("/")
            return f"{root}/{path}"
        return f"{base_url}/{path}"

    def _bypasses_proxies(self, url: str | bytes | None) -> bool:
        """Return whether ``url`` is of a base URL of plain http to this machine."""
        base_url = getattr(self.auth, "base_url", "")
        if not base_url.startswith("http:") or not isinstance(url, str):
            return False
        return same_origin(url, base_url)


def _auth_problem(auth: object) -> str:
    """Return what is wrong with the auth of a session, or ``""``."""
    if isinstance(auth, TurvoAuth):
        return ""
    given = f"a {type(auth).__name__}"
    if auth is None:
        given = "nothing"
    elif isinstance(auth, type):
        given = f"the class {auth.__name__}"
    return f"TurvoSession needs a TurvoAuth, such as TurvoAuth.from_env(); got {given}"


class _BoundedRetry(Retry):
    """Leaves to the caller what a session must not wait for."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: Any = None,
        error: Exception | None = None,
        _pool: Any = None,
        _stacktrace: Any = None,
    ) -> Self:
        """Return the retries that are left; raise if the request is not sent again."""
        if isinstance(error, ReadTimeoutError):
            raise error
        if response is not None:
            asked = self.get_retry_after(response) or 0.0
            if asked > LONGEST_RETRY_AFTER:
                raise MaxRetryError(_pool, url or "")
        return super().increment(method, url, response, error, _pool, _stacktrace)

    def get_retry_after(self, response: Any) -> float | None:
        """Return the ``Retry-After`` in seconds; ``None`` if it is missing or wrong."""
        try:
            return super().get_retry_after(response)
        except (InvalidHeader, ValueError, OverflowError):
            return None


class _RetryingAdapter(HTTPAdapter):
    """Sends again only what can be sent in full.

    urllib3 would send an empty body in place of a generator that is used up.
    """

    __attrs__ = [*HTTPAdapter.__attrs__, "_once"]  # noqa: RUF012 - as in the base class

    def __init__(self, retry: Retry) -> None:
        super().__init__(max_retries=retry)
        self._once = HTTPAdapter()

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        """Send the request, and again if that is safe and needed."""
        send = super().send if replayable(request) else self._once.send
        return send(request, *args, **options)

    def close(self) -> None:
        """Close the connections."""
        self._once.close()
        super().close()


class _ListPage:
    """The rows of a page, and what the answer says of the next one."""

    def __init__(self, rows: list[Row], paging: Row) -> None:
        self.rows = rows
        self.has_more = bool(paging.get("moreAvailable"))
        self._next_start = paging.get("start")

    def next_start(self, start: int) -> int:
        """Return the offset of the next page, given that of this one."""
        # Turvo gives the offset of the next page. One that does not grow would fetch
        # the same page again.
        if isinstance(self._next_start, int) and self._next_start > start:
            return self._next_start
        return start + len(self.rows)


def _page_of_answer(path: str, key: str, details: Row) -> _ListPage:
    """Return the page in ``details``; raise ``TurvoResponseError`` if it has none."""
    rows = details.get(key) or []
    paging = details.get("pagination") or {}
    if not isinstance(paging, dict):
        problem = "'pagination' must be an object"
        raise TurvoResponseError(f"{path}: {problem}", code="pagination")
    if not isinstance(rows, list) or not all(map(_is_record, rows)):
        problem = f"{key!r} must be a list of records"
        raise TurvoResponseError(f"{path}: {problem}", code="key")
    # Turvo leaves out a list without rows. A list of another name, or a single record,
    # is the caller's mistake.
    other_rows = "pagination" not in details or paging.get("totalRecordsInPage")
    if details and key not in details and other_rows:
        problem = f"there is no list {key!r}; the lists are: {list_names(details)}"
        raise TurvoResponseError(f"{path}: {problem}", code="key")
    return _ListPage(rows, paging)


def _is_record(row: object) -> bool:
    return isinstance(row, dict) and isinstance(row.get("id"), int | str | None)


def _unseen_rows(rows: list[Row], seen: set[object]) -> list[Row]:
    """Return the rows whose id is not in ``seen``, and add their ids to it.

    A row without an id cannot be recognised, so it counts as unseen.
    """
    unseen = []
    for row in rows:
        identity = row.get("id")
        if identity in seen:
            continue
        unseen.append(row)
        if identity is not None:
            seen.add(identity)
    return unseen


def list_names(details: Mapping[str, Any]) -> str:
    """Return the names of the lists in ``details``, fit to be shown."""
    names = [name for name, value in details.items() if isinstance(value, list)]
    return ", ".join(quoted(name) for name in names[:10]) or "none"


def read_answer(response: Response, *, needs_status: bool = False) -> Any:
    """Return the JSON of an answer that reports no error.

    Raises ``TurvoResponseError`` if the answer has a ``Status`` other than ``SUCCESS``,
    or is not JSON, or with ``needs_status`` if it has no ``Status``; and
    ``requests.HTTPError`` for a 4xx or 5xx without a ``Status``.
    """
    try:
        answer = response.json()
    except (ValueError, RecursionError):
        answer = None
    error = _reported_error(answer, response, needs_status=needs_status)
    if error is not None:
        # Error trackers show local variables, and a 401 can hold the token.
        del answer, response
        raise error
    return answer


def _reported_error(
    answer: Any, response: Response, *, needs_status: bool
) -> RequestException | None:
    """Return the error that an answer reports, if any."""
    status = response.status_code
    succeeded = 200 <= status < 300
    url = quoted(response.url.partition("?")[0])
    where = f"{response.request.method} {url}"
    if isinstance(answer, dict) and "Status" in answer:
        if succeeded and answer["Status"] == "SUCCESS":
            return None
        return _turvo_error(where, answer, response)
    if status >= 400:
        # Nothing else is repeated: an `error_description` can hold the token.
        said = _fit_to_show(_object_in(answer).get("message"), response)
        said = said or _fit_to_show(response.reason, response)
        text = f"{where}: the answer is {status} {quoted(said)}"
        return HTTPError(text, response=response)
    if succeeded and answer is not None and not needs_status:
        return None
    text = f"{where}: the answer {status} must be JSON with a 'Status'"
    return TurvoResponseError(text, code=str(status))


def _turvo_error(where: str, answer: Row, response: Response) -> TurvoResponseError:
    """Return the error of an envelope, with Turvo's own message and code."""
    details = _object_in(answer.get("details"))
    message = _fit_to_show(details.get("errorMessage"), response) or "no errorMessage"
    code = _fit_to_show(details.get("errorCode"), response) or str(response.status_code)
    text = f"{where}: Turvo says {quoted(message)} (code {code})"
    return TurvoResponseError(text, code=code, message=message)


def _object_in(value: Any) -> Row:
    """Return a value of JSON if it is an object, or else an empty one."""
    return value if isinstance(value, dict) else {}


def _fit_to_show(value: object, response: Response) -> str:
    """Return text from a server, fit to be shown, without the secrets it was sent."""
    if not isinstance(value, str | int | float):
        return ""
    text = str(value)
    for answer in (response, *response.history):
        headers = answer.request.headers
        token = str(headers.get("Authorization", "")).removeprefix("Bearer ")
        key = str(headers.get(KEY_HEADER, ""))
        for secret in filter(None, (token, key)):
            text = text.replace(secret, "***")
    return printable(text)
