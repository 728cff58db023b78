"""A session whose requests are answered without a server."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter

from tests.support.wire import auth_at, store_with
from turvo_session import TurvoSession

BASE = "https://publicapi.turvo.com/v1"
SECRET = "token-0001-not-to-be-shown"
Row = dict[str, Any]
Pages = dict[int, tuple[list[Row] | None, object, object]]


class Answering(BaseAdapter):
    """Answers in place of a server, and keeps what it was given to send."""

    def __init__(self, answer: Callable[[PreparedRequest], tuple[int, Any]]) -> None:
        super().__init__()
        self.answer = answer
        self.reason = "Odd"
        self.sent: list[tuple[PreparedRequest, Mapping[str, Any]]] = []

    def send(  # type: ignore[override]
        self, request: PreparedRequest, **options: Any
    ) -> Response:
        """Return the answer; bytes are sent as they are, all else as JSON."""
        self.sent.append((request, options))
        status, content = self.answer(request)
        response = Response()
        response.status_code = status
        response.reason = self.reason
        response.request = request
        response.url = request.url or ""
        is_raw = isinstance(content, bytes)
        response._content = content if is_raw else json.dumps(content).encode()
        return response

    def close(self) -> None:
        """There is nothing to close."""


def answered(
    status: int = 200, content: Any = None, base_url: str = BASE, **options: Any
) -> tuple[TurvoSession, Answering]:
    """Return a session with a token whose requests all get this answer."""
    session = TurvoSession(auth_at(base_url, store=store_with(SECRET)), **options)
    adapter = Answering(lambda _: (status, {} if content is None else content))
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session, adapter


def envelope(status: object = "SUCCESS", **details: object) -> Row:
    """Return the content of an answer as Turvo wraps it."""
    return {"Status": status, "details": details}


def error_of(status: int, content: Any, reason: str = "Odd") -> Any:
    """Return what ``details()`` raises for an answer."""
    session, adapter = answered(status, content)
    adapter.reason = reason
    with pytest.raises(requests.RequestException) as caught:
        session.details("/shipments/1?x=1")
    assert caught.value.__context__ is None
    return caught.value


def rows(*ids: int, **more: Any) -> list[Row]:
    """Return rows of a list."""
    return [{"id": each, **more} for each in ids]


def listed(pages: Pages, **params: Any) -> tuple[list[Any], list[int]]:
    """Return the ids that ``records()`` yields, and the offsets that it asked for.

    ``pages``: by offset the rows, the next offset, and whether there is more.
    """
    asked = []

    def answer(request: PreparedRequest) -> tuple[int, Any]:
        [start] = parse_qs(urlsplit(request.url or "").query)["start"]
        asked.append(int(start))
        page, following, more = pages[int(start)]
        content = envelope(pagination={"start": following, "moreAvailable": more})
        if page is not None:
            content["details"]["rows"] = page
        return 200, content

    session, adapter = answered()
    adapter.answer = answer
    ids = [row.get("id") for row in session.records("/x/list", "rows", params)]
    return ids, asked
