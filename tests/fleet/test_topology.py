"""Beyond one server: sentinels with a failover, and a cluster of three."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import redis
from redis.sentinel import Sentinel

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
from tests.support.servers import RedisServer, free_port
from turvo_session.testing import FakeTurvo


def port_of(server: RedisServer) -> int:
    assert server.port
    return server.port


HASTE = "SENTINEL DEBUG INFO-PERIOD 100 PUBLISH-PERIOD 100"
# A busy machine would suspend a sentinel for half a minute.
NO_TILT = "SENTINEL DEBUG TILT-TRIGGER 60000"


class Watched:
    """A master and its replica, watched by three sentinels that agree by two."""

    def __init__(self, stack: ExitStack) -> None:
        sync = "repl-diskless-sync-delay 0"
        pair = [stack.enter_context(RedisServer(sync, port=0)) for _ in range(2)]
        self.master, self.replica = pair
        replica = stack.enter_context(self.replica.client())
        replica.replicaof("127.0.0.1", port_of(self.master))
        watch = [
            f"sentinel monitor turvo 127.0.0.1 {self.master.port} 2",
            "sentinel down-after-milliseconds turvo 1000",
            "sentinel failover-timeout turvo 2000",
        ]
        sentinels = [
            stack.enter_context(RedisServer(*watch, port=0, sentinel=True))
            for _ in range(3)
        ]
        self.ports = [port_of(sentinel) for sentinel in sentinels]
        for sentinel in sentinels:
            with sentinel.client() as client:
                client.execute_command(HASTE)
                client.execute_command(NO_TILT)
        for sentinel in sentinels:
            with sentinel.client() as client:
                until(lambda c=client: self._knows_all(c))
        until(lambda: replica.info("replication")["master_link_status"] == "up")

    def has_failed_over(self) -> bool:
        """Return whether every sentinel, and the replica, takes it for the master."""
        try:
            with self.replica.client() as client:
                role = client.role()[0]
            masters = [
                Sentinel([("127.0.0.1", port)], socket_timeout=1).discover_master(
                    "turvo"
                )
                for port in self.ports
            ]
        except redis.ConnectionError:  # there is none, or it drops its connections
            return False
        return role == b"master" and {m[1] for m in masters} == {self.replica.port}

    def _knows_all(self, client: redis.Redis) -> bool:
        state = client.sentinel_master("turvo")
        return bool(state["num-other-sentinels"] == 2 and state["num-slaves"] == 1)


@pytest.fixture
def watched() -> Iterator[Watched]:
    with ExitStack() as stack:
        yield Watched(stack)


def test_a_failover_fails_no_call_and_costs_at_most_one_login(
    turvo: FakeTurvo, watched: Watched
) -> None:
    """The master dies under load, and the token is shared through the new one."""
    way = ("sentinel", watched.ports, KEY)
    with (
        workers(4, turvo.environ, shared=way) as fleet,
        workers(2, turvo.environ, shared=way) as newcomers,
        watched.replica.client() as client,
    ):
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


@pytest.fixture
def cluster() -> Iterator[list[RedisServer]]:
    """Run three masters that share the slots."""
    bounds = [0, 5461, 10923, 16384]
    with ExitStack() as stack:
        nodes = []
        for i in range(3):
            bus = free_port()
            options = ("cluster-enabled yes", f"cluster-port {bus}")
            node = stack.enter_context(RedisServer(*options, port=0))
            client = stack.enter_context(node.client())
            slots = (bounds[i], bounds[i + 1] - 1)
            client.execute_command("CLUSTER ADDSLOTSRANGE", *slots)
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", i + 1)
            for _, other, other_bus in nodes:
                meet = ("127.0.0.1", other.port, other_bus)
                client.execute_command("CLUSTER MEET", *meet)
            nodes.append((client, node, bus))
        for client, _, _ in nodes:
            until(lambda c=client: is_settled(c), every=0.05)
        yield [node for _, node, _ in nodes]


def is_settled(client: redis.Redis) -> bool:
    state = client.execute_command("CLUSTER INFO")
    return bool(state["cluster_state"] == "ok" and state["cluster_known_nodes"] == "3")


def test_a_cluster_shares_a_token_on_each_of_its_nodes(
    cluster: list[RedisServer],
) -> None:
    """Wherever the slot of the key is; and a node may die."""
    ports = [port_of(node) for node in cluster]
    keys = ["turvo:auth_token", "turvo:a", "turvo:{tenant}:auth_token"]
    with FakeTurvo(login_seconds=0.3) as turvo:
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
