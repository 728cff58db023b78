"""A request that is sent again: its body, its options, and the refused answer."""

from __future__ import annotations

import itertools
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from tests.support.interrupts import interrupted
from tests.support.requests_sent import SENT_AGAIN, SENT_ONCE, RecorderAdapter, World
from tests.support.threads import at_once
from tests.support.wire import Recording, Reply, Script, Site, auth_at, head, ok
from turvo_session.replay import MOST_KEPT


@pytest.fixture
def world(world: World) -> World:
    """Return a local Turvo with a session whose token is revoked."""
    world.auth.token()
    world.turvo.revoke()
    return world


@pytest.mark.parametrize(("options", "sent"), SENT_AGAIN)
def test_a_body_is_sent_again_in_full(
    world: World, options: dict[str, Any], sent: bytes
) -> None:
    answer = world.session.post(f"{world.turvo.base_url}/x", timeout=10, **options)
    first, second = world.calls
    assert (first.status, answer.status_code) == (401, second.status)
    assert sent in second.body
    assert second.body == first.body
    bearer = {"authorization": second.headers["authorization"]}
    assert second.headers == first.headers | bearer != first.headers


@pytest.mark.parametrize("kind", SENT_ONCE)
@pytest.mark.parametrize("recently_replaced", [False, True])
def test_a_body_that_cannot_be_sent_again_comes_back_with_its_401(
    world: World, kind: str, recently_replaced: bool
) -> None:
    """Never is a part of it sent, and the next call has a new token already."""
    if recently_replaced:
        assert world.get().ok
        world.turvo.revoke()
    body, before = SENT_ONCE[kind](), len(world.calls)
    answer = world.session.post(world.url, data=body, timeout=10)
    getattr(body, "close", bool)()
    assert (answer.status_code, answer.history) == (401, [])
    assert b"invalid_token" in answer.content
    assert [seen.body for seen in world.calls[before:]] == [b"onetwo"]
    assert world.get().history == []
    assert world.turvo.logins == 2 + recently_replaced


def test_it_is_sent_with_the_same_options(world: World, tmp_path: Path) -> None:
    (tmp_path / "client.pem").touch()
    recording = Recording()
    world.session.mount("http://", recording)
    options: dict[str, Any] = {
        "timeout": (3.0, 7.0),
        "verify": False,
        "cert": str(tmp_path / "client.pem"),
        "proxies": {"https": "http://127.0.0.1:9"},
        "stream": True,
    }
    with world.session.get(world.url, headers={"X-Mine": "1"}, **options) as answer:
        assert not answer._content_consumed
        assert answer.json()["Status"] == "SUCCESS"

    (first, with_first), (second, with_second) = recording.calls
    assert with_first == with_second
    assert with_second.items() >= options.items()
    assert (second.url, second.headers["X-Mine"]) == (first.url, "1")


def test_the_answer_tells_its_own_time_and_a_history_without_secrets(
    world: World,
) -> None:
    """Turvo repeats the refused token in its answer, and caches store the history."""
    token = world.auth.token().access_token
    start = time.perf_counter()
    answer = world.get()
    took = time.perf_counter() - start
    [refused] = answer.history
    assert b"".join(refused.iter_content(10)) == refused.content
    assert refused.json()["error"] == "invalid_token"
    shown = f"{refused.text} {refused.request.headers}"
    assert [one for one in (token, world.turvo.api_key) if one in shown] == []
    assert timedelta(0) < answer.elapsed < timedelta(seconds=took)


def test_cookies_of_the_refused_answer_go_along_and_stay(world: World) -> None:
    world.session.cookies.set("mine", "1")
    world.turvo.fail_next(401, headers=[("Set-Cookie", "theirs=2; Path=/")])
    world.get(cookies={"once": "3"})
    world.turvo.revoke()
    world.get(headers={"Cookie": "own=4"})
    cookies = [sorted(seen.headers["cookie"].split("; ")) for seen in world.calls]
    assert cookies[:2] == [["mine=1", "once=3"], ["mine=1", "once=3", "theirs=2"]]
    assert set(map(tuple, cookies[2:])) == {("own=4",)}
    assert world.session.cookies.get_dict() == {"mine": "1", "theirs": "2"}


@pytest.mark.parametrize("stand_ins", [False, True])
def test_a_recorder_may_have_read_the_answer(world: World, stand_ins: bool) -> None:
    world.session.mount("http://", RecorderAdapter(stand_ins=stand_ins))
    answer = world.get()
    [refused] = answer.history
    assert (answer.status_code, refused.json()["error"]) == (200, "invalid_token")


# The refused answer itself


def get(site: Site, *answers: Any, **options: Any) -> requests.Response:
    """Return the answer to a GET at a site that gives ``answers`` in turn."""
    site.answer = Script(*answers)
    with requests.Session() as session:
        session.auth = auth_at(site.url)
        return session.get(f"{site.url}/v1/x", **{"timeout": 10, **options})


@pytest.mark.parametrize("body", [b"", b"x" * 1000])
def test_its_connection_is_not_used_again(site: Site, body: bytes) -> None:
    """A gateway may have closed it without saying so."""
    answer = get(site, Reply(401, body), ok(b"{}"))
    assert (answer.json(), answer.history[0].content) == ({}, body)
    ports = [arrived.port for arrived in site.arrived if arrived.method == "GET"]
    assert len(set(ports)) == 2


@pytest.mark.parametrize("stream", [True, False])
def test_of_a_body_without_end_the_beginning_is_kept(site: Site, stream: bool) -> None:
    flood = itertools.chain([head(401)], itertools.repeat(b"x" * 65536))
    answer = get(site, flood, ok(b"{}"), stream=stream)
    assert answer.json() == {}
    assert len(answer.history[0].content) == MOST_KEPT
    assert site.hung_up.wait(10)


def test_a_slow_body_is_not_waited_for() -> None:
    """Not even by a caller who waits without a limit, and whether it drips or not."""
    first = head(401, "Content-Length: 99999999") + b"x"

    def content_of_refused(then: bytes) -> bytes:
        with Site() as site:
            answer = get(site, site.drip(first, then), ok(b"{}"), timeout=None)
            assert answer.json() == {}
            return answer.history[0].content

    for call in at_once([partial(content_of_refused, then) for then in (b"x", b"")]):
        assert set(call.result()) == set(b"x")


@pytest.mark.parametrize(
    "broken",
    [
        head(401, "Content-Length: 500") + b"short",
        head(401, "Content-Encoding: gzip", "Content-Length: 4") + b"junk",
        head(401, "Transfer-Encoding: chunked") + b"zz\r\n",
    ],
)
def test_a_broken_body_does_no_harm(site: Site, broken: bytes) -> None:
    assert get(site, (broken,), ok(b"{}")).ok


class ClosingAdapter(HTTPAdapter):
    """Closes the file of a refused answer, as mocket leaves it."""

    def build_response(self, req: Any, resp: Any) -> requests.Response:
        if resp.status == 401:
            resp._original_response.fp.close()
        return super().build_response(req, resp)


def test_a_body_whose_file_is_closed_does_no_harm(world: World) -> None:
    world.session.mount("http://", ClosingAdapter())
    answer = world.get()
    assert answer.ok and answer.history[0].content == b""


def test_a_time_limit_that_ends_while_it_is_read_comes_out(site: Site) -> None:
    """A ``TimeoutError`` of a signal handler is not one of the connection."""
    first = head(401, "Content-Length: 999")
    slow = site.drip(first, b"x")
    limit = TimeoutError("the caller's limit")
    with pytest.raises(TimeoutError, match="the caller's"):  # noqa: SIM117
        with interrupted(lambda: site.sent > len(first) + 2, limit):
            get(site, slow, ok(b"{}"))
