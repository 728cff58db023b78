"""May this request be sent again, and how."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

from requests import PreparedRequest, Response
from requests.cookies import extract_cookies_to_jar
from requests.exceptions import UnrewindableBodyError
from requests.utils import get_netrc_auth, rewind_body

from .origin import redirect_target, same_origin
from .secret import Secret

KEY_HEADER = "x-api-key"
DRAIN_CAP = 1 << 16
"""Bytes of a refused answer that are kept for ``history``; the connection of a longer one is dropped."""
DRAIN_SECONDS = 1.0
"""Seconds after which it is not read on; a read that has begun ends with the caller's own timeout."""


def replayable(request: PreparedRequest) -> bool:
    """Whether the whole body can be sent a second time.

    Text and bytes can, and files that told their position when the request was prepared. A
    generator cannot: it would send an empty body, and get a 200 for it.
    """
    if request.body is None or isinstance(request.body, str | bytes):
        return True
    return isinstance(request._body_position, int) and hasattr(request.body, "seek")


def rewound(request: PreparedRequest) -> bool:
    """Whether the body stands ready to be sent a second time: a file is put back to where it was."""
    if not replayable(request):
        return False
    if isinstance(request._body_position, int):
        try:
            rewind_body(request)
        except (UnrewindableBodyError, ValueError):  # it cannot seek after all, or was closed meanwhile
            return False
    return True


def replay(response: Response, bearer: Secret[str], options: dict[str, Any]) -> Response:
    """Send the request of ``response``, ``rewound``, again with another ``bearer``, as it was sent before.

    ``options`` are those of a response hook (timeout, verify, cert, proxies, stream). The refused
    answer goes to ``history``. Raises what ``requests`` raises.
    """
    refused = response.request
    request = _plain_copy(refused)
    request.headers["Authorization"] = bearer.reveal()
    _drain(response)
    if response.cookies and request._cookies is not None:
        request.headers.pop("Cookie", None)
        extract_cookies_to_jar(request._cookies, refused, response.raw)
        request.prepare_cookies(request._cookies)
    start = time.perf_counter()
    again: Response = response.connection.send(request, **options)
    again.elapsed = timedelta(seconds=time.perf_counter() - start)
    again.history = [*response.history, response]
    return again


def guard_redirect(response: Response, original: PreparedRequest) -> None:
    """See to it that a redirect takes along what it may: all to the same origin, else nothing.

    ``requests`` follows a redirect with a copy of the ``original`` request, also after a replay.
    It would leave the key on the copy, and give a host of netrc's the place of our header. It makes
    a copy or two, and somebody's hook may have made one before: what holds for one holds for all.
    """
    target = redirect_target(response)
    if target is not None:
        here = same_origin(target, original.url or "")
        bearer = response.request.headers.get("Authorization") if here else None
        original.copy = partial(_copy_along, original, bearer)  # type: ignore[method-assign]


def _copy_along(original: PreparedRequest, bearer: str | bytes | None) -> PreparedRequest:
    request = _plain_copy(original)
    if bearer is None:
        request.headers.pop("Authorization", None)
        request.headers.pop(KEY_HEADER, None)
    else:
        request.headers["Authorization"] = bearer
        request.prepare_auth = partial(_prepare_auth, request)  # type: ignore[method-assign]
    return request


def _plain_copy(request: PreparedRequest) -> PreparedRequest:
    return type(request).copy(request)


def _prepare_auth(request: PreparedRequest, auth: Any, url: Any = "") -> None:
    """As ever, but netrc does not know better than the header that is there."""
    if auth != get_netrc_auth(request.url or ""):
        type(request).prepare_auth(request, auth, url)


def _drain(response: Response) -> None:
    """Read what there is of an answer, within reason, so that its connection can be used again."""
    if response._content_consumed:
        return
    body, more, end = b"", True, time.monotonic() + DRAIN_SECONDS
    read = getattr(response.raw, "read1", response.raw.read)  # urllib3 before 2 waits until all is there
    with suppress(Exception):  # it may be as broken as it likes
        while more and len(body) < DRAIN_CAP and time.monotonic() < end:
            part = read(DRAIN_CAP - len(body), decode_content=True)
            body, more = body + part, bool(part)
    response._content, response._content_consumed = body, True
    if more:
        response.raw.close()
    response.close()
