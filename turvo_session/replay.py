"""May this request be sent again, and how."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial
from typing import Any

from requests import PreparedRequest, Response
from requests.cookies import extract_cookies_to_jar
from requests.utils import rewind_body

from .origin import redirect_target, same_origin

KEY_HEADER = "x-api-key"
DRAIN_CAP = 1 << 16
"""Bytes of a refused answer that are kept for ``history``; the connection of a longer one is dropped."""


def replayable(request: PreparedRequest) -> bool:
    """Whether the whole body can be sent a second time.

    Text and bytes can, and files that told their position when the request was prepared. A
    generator cannot: it would send an empty body, and get a 200 for it.
    """
    if request.body is None or isinstance(request.body, str | bytes):
        return True
    return isinstance(request._body_position, int) and hasattr(request.body, "seek")


def replay(response: Response, bearer: str, options: dict[str, Any]) -> Response:
    """Send the request of ``response`` again with another ``bearer`` header, as it was sent before.

    ``options`` are those of a response hook (timeout, verify, cert, proxies, stream). The refused
    answer goes to ``history``. Raises what ``requests`` raises.
    """
    refused = response.request
    _drain(response)
    request = refused.copy()
    request.headers["Authorization"] = bearer
    if response.cookies and request._cookies is not None:
        request.headers.pop("Cookie", None)
        extract_cookies_to_jar(request._cookies, refused, response.raw)
        request.prepare_cookies(request._cookies)
    if isinstance(request._body_position, int):
        rewind_body(request)
    start = time.perf_counter()
    again: Response = response.connection.send(request, **options)
    again.elapsed = timedelta(seconds=time.perf_counter() - start)
    again.history = [*response.history, response]
    return again


def guard_redirect(response: Response, original: PreparedRequest) -> None:
    """See to it that a redirect takes along what it may: all to the same origin, else nothing.

    ``requests`` follows a redirect with a copy of the ``original`` request, also after a replay.
    It would leave the key on the copy, and give a host of netrc's the place of our header.
    """
    target = redirect_target(response)
    if target is not None:
        here = same_origin(target, original.url or "")
        bearer = response.request.headers["Authorization"] if here else None
        original.copy = partial(_copy_along, original, bearer)  # type: ignore[method-assign]


def _copy_along(original: PreparedRequest, bearer: str | bytes | None) -> PreparedRequest:
    del original.copy  # for this redirect only: a copy of the user's own is a plain one
    request = original.copy()
    if bearer is None:
        request.headers.pop("Authorization", None)
        request.headers.pop(KEY_HEADER, None)
    else:
        request.headers["Authorization"] = bearer
        request.prepare_auth = _keep_auth  # type: ignore[method-assign]
    return request


def _keep_auth(auth: object, url: object = "") -> None:
    """Not even netrc knows better than the header that is there."""


def _drain(response: Response) -> None:
    """Read what there is of an answer, within reason, so that its connection can be used again."""
    if not response._content_consumed:
        response._content = response.raw.read(DRAIN_CAP, decode_content=True)
        response._content_consumed = True
    response.close()
