"""What a request costs: attaching the token, and the request as a whole. Medians of
interleaved rounds."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from functools import partial
from statistics import median
from typing import NamedTuple

import requests
from requests import PreparedRequest

from tests.benchmarks.peers import API_KEY, PEERS, ByHand, Peer, Site

BEARER = "Bearer 3b_-00000000-0000-0000-0000-000000000000"
Timed = Callable[[], float]


class Cost(NamedTuple):
    """Seconds a piece, and that as a multiple of doing it by hand, in the median of the
    rounds."""

    seconds: float
    ratio: float


def attach(
    site: Site, titles: Iterable[str], *, rounds: int = 200, times: int = 300
) -> dict[str, Cost]:
    """Two headers on a prepared request: by hand, and as each peer does it."""
    subjects: dict[str, Timed] = {}
    with requests.Session() as session:
        for title in titles:
            peer = PEERS[title]
            request = session.prepare_request(requests.Request("GET", site.url))
            if peer is ByHand:
                subjects[title] = partial(by_hand, request, times)
            else:
                made = peer(site)
                made.get()
                few = times if peer.imports != "redis" else max(1, times // 20)
                subjects[title] = partial(_repeated, made.attach(), request, few)
    return _interleaved(subjects, rounds)


def whole(
    site: Site, titles: Iterable[str], *, rounds: int = 60, times: int = 30
) -> dict[str, Cost]:
    """A GET over a connection that is kept alive, one after the other."""
    peers: dict[str, Peer] = {title: PEERS[title](site) for title in titles}
    for title, peer in peers.items():
        if (status := peer.get()) not in (200, 401):  # 401: it has no token to show
            raise RuntimeError(f"{title}: {status}")
    costs = _interleaved(
        {title: partial(_calls, peer.get, times) for title, peer in peers.items()},
        rounds,
    )
    for peer in peers.values():
        peer.session.close()
    return costs


def by_hand(request: PreparedRequest, times: int) -> float:
    """What a user would write, without the cost of a call."""
    start = time.perf_counter()
    for _ in range(times):
        request.headers["Authorization"] = BEARER
        request.headers["x-api-key"] = API_KEY
    return (time.perf_counter() - start) / times


def _repeated(
    attach: Callable[[PreparedRequest], object], request: PreparedRequest, times: int
) -> float:
    request.hooks["response"].clear()  # as on a request that is new
    start = time.perf_counter()
    for _ in range(times):
        attach(request)
    return (time.perf_counter() - start) / times


def _calls(get: Callable[[], int], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        get()
    return (time.perf_counter() - start) / times


def _interleaved(subjects: dict[str, Timed], rounds: int) -> dict[str, Cost]:
    """Every subject once a round, in an order that changes, since the machine's pace
    changes too."""
    seen: dict[str, list[float]] = {title: [] for title in subjects}
    order = list(subjects.items())
    shuffle = random.Random(0).shuffle
    for _ in range(rounds + 1):
        shuffle(order)
        for title, timed in order:
            seen[title].append(timed())
    seen = {
        title: times[1:] for title, times in seen.items()
    }  # the first round warms up
    base = seen[ByHand.title]
    return {
        title: Cost(
            median(times),
            median(mine / other for mine, other in zip(times, base, strict=True)),
        )
        for title, times in seen.items()
    }
