"""What the tests of replays share: bodies, stores and adapters of a special kind."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Self

import requests
from requests import PreparedRequest, Request, Response
from requests.adapters import HTTPAdapter

from tests.support.wire import Recording
from turvo_session import Change, MemoryStore, Slot, Snapshot, TurvoAuth
from turvo_session.events import Event
from turvo_session.testing import FakeTurvo, Seen


class World:
    """A local Turvo, and a session with an auth for it."""

    def __init__(self, **options: Any) -> None:
        self.turvo = FakeTurvo(**options)
        self.session = requests.Session()
        self.told: list[Event] = []

    def __enter__(self) -> Self:
        self.turvo.__enter__()
        self.session.auth = self.auth = self.new_auth(on_event=self.told.append)
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()
        self.turvo.__exit__()

    @property
    def url(self) -> str:
        """A URL at which every token serves."""
        return f"{self.turvo.base_url}/shipments/list"

    @property
    def calls(self) -> list[Seen]:
        """The requests that arrived and were not logins."""
        turvo = self.turvo
        return [seen for seen in turvo.requests if not seen.path.endswith("/token")]

    @property
    def bearers(self) -> list[str]:
        """The tokens of those requests."""
        headers = [seen.headers.get("authorization", "") for seen in self.calls]
        return [header.removeprefix("Bearer ") for header in headers]

    def new_auth(self, **options: Any) -> TurvoAuth:
        """Return another auth, as another process has one."""
        return TurvoAuth.from_env(self.turvo.environ, **options)

    def prepared(self) -> PreparedRequest:
        """Return a request that carries the current token."""
        return self.session.prepare_request(Request("GET", self.url))

    def get(self, path: str = "/shipments/list", **options: Any) -> Response:
        """Return the answer to a GET through the session."""
        url = f"{self.turvo.base_url}{path}"
        return self.session.get(url, timeout=20, **options)

    def get_with(self, auth: TurvoAuth) -> Response:
        """Return the answer to a GET with another auth."""
        return requests.get(self.url, auth=auth, timeout=20)


def statuses(answers: list[Response]) -> list[int]:
    """Return the status of each answer."""
    return [answer.status_code for answer in answers]


class SharedStore(MemoryStore):
    """A store that another process writes, and that counts its reads."""

    looks = 0

    def read(self) -> Snapshot:
        """Return what the store holds."""
        self.looks += 1
        return super().read()

    def put(self, token: str, left: float) -> None:
        """Store a token as another process would."""
        value = json.dumps({"access_token": token, "buffer": 300}).encode()
        assert self.swap(super().read(), Change(token=Slot(value, left)))


class StoreOfRumours(MemoryStore):
    """Holds another token each time, and none of them is good."""

    looks = 0

    def read(self) -> Snapshot:
        """Return a token that nobody has seen before."""
        self.looks += 1
        fields = {"access_token": f"rumour-{self.looks}", "buffer": 1}
        token = Slot(json.dumps(fields).encode(), 600.0)
        seen = super().read()
        return Snapshot(seen.at, token, seen.lease, seen.failure, seen.version)


class InterruptedAdapter(Recording):
    """Keeps the answers; raises ``error`` in place of the second one."""

    def __init__(self, error: type[BaseException] | None) -> None:
        super().__init__()
        self.answers: list[Response] = []
        self._error = error

    def send(self, request: PreparedRequest, **options: Any) -> Response:  # type: ignore[override]
        """Send a request, or raise as Ctrl-C would."""
        if self.answers and self._error:
            raise self._error
        self.answers.append(super().send(request, **options))
        return self.answers[-1]


class RecorderAdapter(HTTPAdapter):
    """Answers as a recorder does, which has read the body.

    ``stand_ins``: as one that plays back. It makes the request and the raw answer anew.
    """

    def __init__(self, *, stand_ins: bool) -> None:
        super().__init__()
        self._stand_ins = stand_ins

    def send(self, request: PreparedRequest, **options: Any) -> Response:  # type: ignore[override]
        """Send a request, and return what a recorder would."""
        response = super().send(request, **options)
        content = response.content
        if self._stand_ins:
            response.raw = io.BytesIO(content)
            response._content_consumed = False
            response.request = Request(request.method, request.url).prepare()
            response.request.headers = request.headers.copy()
        return response


class Tape(io.BytesIO):
    """A file that tells where it is and cannot go back there."""

    read_of = False

    def read(self, size: int | None = -1) -> bytes:
        """Read, after which there is no way back."""
        self.read_of = True
        return super().read(size)

    def seek(self, *where: int) -> int:
        """Go somewhere, as long as nothing was read."""
        if self.read_of:
            raise OSError("no way back")
        return super().seek(*where)


class SelfClosing(io.BytesIO):
    """A file that closes itself when it was read to its end."""

    def read(self, size: int | None = -1) -> bytes:
        """Read, and close at the end."""
        part = super().read(size)
        if not part:
            self.close()
        return part


def _read_up_to(offset: int, content: bytes) -> io.BytesIO:
    body = io.BytesIO(content)
    body.seek(offset)
    return body


def _pipe_with(content: bytes) -> Any:
    """Return the reading end of a pipe that holds ``content``."""
    reader, writer = os.pipe()
    os.write(writer, content)
    os.close(writer)
    return open(reader, "rb")


SENT_AGAIN: list[tuple[dict[str, Any], bytes]] = [
    ({}, b""),
    ({"json": {"a": ["\xfc", 1]}}, b'{"a": ["\\u00fc", 1]}'),
    ({"data": {"a": "1", "b": "2 3"}}, b"a=1&b=2+3"),
    ({"data": b"\x00\xff"}, b"\x00\xff"),
    ({"data": "f\xfcr"}, "f\xfcr".encode()),
    ({"files": {"f": ("n.txt", b"content")}}, b"content"),
    ({"data": _read_up_to(4, b"all the rest")}, b"the rest"),
    ({"data": io.StringIO("text")}, b"text"),
]
"""Options of a request whose body can be sent twice, and what is in the body."""
SENT_ONCE: dict[str, Callable[[], Any]] = {
    "generator": lambda: (part for part in (b"one", b"two")),
    "iterator": lambda: iter([b"one", b"two"]),
    "bytearray": lambda: bytearray(b"onetwo"),
    "tape": lambda: Tape(b"onetwo"),
    "self-closing": lambda: SelfClosing(b"onetwo"),
    "pipe": lambda: _pipe_with(b"onetwo"),
}
"""How to make a body that can be sent only once; each is ``onetwo``."""


def texts_in(thing: object, seen: set[int] | None = None) -> Iterator[str]:
    """Yield the texts that an error tracker finds by the structure of an object."""
    seen = set() if seen is None else seen
    if isinstance(thing, str | bytes):
        yield str(thing)
        return
    if isinstance(thing, type | ModuleType) or id(thing) in seen:
        return
    seen.add(id(thing))
    parts = list(getattr(thing, "__dict__", {}).values())
    for kind in type(thing).__mro__:
        slots = vars(kind).get("__slots__", ())
        parts += [getattr(thing, name, None) for name in slots]
    if isinstance(thing, dict):
        parts += [*thing, *thing.values()]
    if isinstance(thing, list | tuple | set | frozenset):
        parts += thing
    for part in parts:
        yield from texts_in(part, seen)
