"""Beyond one server: sentinels with a failover, and a cluster of three."""

from __future__ import annotations

from contextlib import ExitStack

from tests.support.fleet import (
    KEY,
    Worker,
    answers,
    finish,
    go,
    pass_calls,
    start,
    trouble,
    until,
    workers,
)
from tests.support.topology import Watched, cluster_of_three, port_of
from turvo_session.testing import FakeTurvo


def test_a_failover_fails_no_call_and_costs_at_most_one_login(
    turvo: FakeTurvo,
) -> None:
    """The master dies under load, and the token is shared through the new one."""
    with ExitStack() as stack:
        watched = Watched(stack)
        way = ("sentinel", watched.ports, KEY)
        fleet = stack.enter_context(workers(4, turvo.environ, shared=way))
        newcomers = stack.enter_context(workers(2, turvo.environ, shared=way))
        client = stack.enter_context(watched.replica.client())
        start(fleet, threads=2, pause=0.05)
        pass_calls(turvo, 50)
        until(lambda: client.exists(KEY))
        assert turvo.token_requests == 1
        watched.master.kill()
        until(watched.has_failed_over, every=0.05)
        assert answers(go(newcomers, threads=2)) == {200: 4}
        before = turvo.token_requests
        assert before <= 2
        turvo.revoke()
        pass_calls(turvo, 100)
        assert answers([*finish(fleet), *go(newcomers)]).keys() == {200}
        assert turvo.token_requests == before + 1


def test_a_cluster_shares_a_token_on_each_of_its_nodes() -> None:
    """Wherever the slot of the key is; and a node may die."""
    keys = ["turvo:auth_token", "turvo:a", "turvo:{tenant}:auth_token"]
    with cluster_of_three() as cluster, FakeTurvo(login_seconds=0.3) as turvo:
        ports = [port_of(node) for node in cluster]
        for node, key in zip(cluster, keys, strict=True):
            way = ("cluster", ports, key)
            with workers(2, turvo.environ, shared=way) as fleet:
                assert logins(turvo, fleet) == 1
                with node.client() as client:  # raises if the slot is another node's
                    assert client.exists(key)
                turvo.revoke()
                assert logins(turvo, fleet) == 1
                assert not trouble(fleet)
                if key == keys[-1]:
                    node.kill()
                    turvo.revoke()
                    assert logins(turvo, fleet) <= 2


def logins(turvo: FakeTurvo, fleet: list[Worker]) -> int:
    """Return how many logins it costs that two threads of each worker call."""
    before = turvo.token_requests
    assert answers(go(fleet, threads=2)) == {200: 4}
    return turvo.token_requests - before
