"""No redirect, hook or netrc takes token and key to another origin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.requests_sent import World
from tests.support.wire import Reply, Site

SECRETS = {"authorization", "x-api-key"}


@pytest.fixture(params=["127.0.0.2", "127.0.0.1"], ids=["host", "port"])
def elsewhere(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Run a server at another host, or at another port of the same one."""
    with Site(host=request.param) as site:
        yield site


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(("refused", "hops"), [(0, 2), (1, 0)])
def test_a_redirect_within_the_origin_keeps_the_current_token_and_one_out_drops_it(
    world: World, elsewhere: Site, status: int, refused: int, hops: int
) -> None:
    """A redirect back brings nothing back, and a 401 there is not answered."""
    elsewhere.answer = lambda _: Reply(302, b"", (("Location", world.url),))
    if refused:
        world.turvo.fail_next(401)
    if hops:
        world.turvo.redirect_next("/v1/shipments/list", status=status, times=hops)
    world.turvo.redirect_next(f"{elsewhere.url}/x", status=status)
    url = f"{world.turvo.base_url}/shipments"

    assert world.session.post(url, json={"a": 1}, timeout=10).status_code == 403

    *inside, back = world.calls
    assert len(inside) == refused + hops + 1
    current = world.auth.token().access_token
    assert world.bearers[refused:-1] == [current] * (hops + 1)
    for arrived in (*elsewhere.arrived, back):
        assert not arrived.headers.keys() & SECRETS
    elsewhere.answer = lambda _: Reply(401)
    world.turvo.redirect_next(f"{elsewhere.url}/x", status=status)
    assert world.get().status_code == 401
    assert world.turvo.logins == 1 + refused


def test_netrc_serves_other_origins_and_never_replaces_the_token(
    world: World, elsewhere: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login c password d\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    world.turvo.fail_next(401)
    world.turvo.redirect_next("/v1/shipments/list", times=2)
    world.turvo.redirect_next(f"{elsewhere.url}/x")
    world.get()
    assert [bearer[:4] for bearer in world.bearers] == ["3b_-"] * 4
    [arrived] = elsewhere.arrived
    assert arrived.headers["authorization"].startswith("Basic ")
    assert "x-api-key" not in arrived.headers
