"""More than one Redis: a master that sentinels watch, and a cluster of three."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import redis
from redis.sentinel import Sentinel

from tests.support.fleet import until
from tests.support.servers import RedisServer, free_port

HASTE = "SENTINEL DEBUG INFO-PERIOD 100 PUBLISH-PERIOD 100"
# A busy machine would suspend a sentinel for half a minute.
NO_TILT = "SENTINEL DEBUG TILT-TRIGGER 60000"
FIRST_SLOTS = [0, 5461, 10923, 16384]


def port_of(server: RedisServer) -> int:
    """Return the TCP port of a server that has one."""
    assert server.port
    return server.port


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
        clients = [stack.enter_context(sentinel.client()) for sentinel in sentinels]
        for client in clients:
            client.execute_command(HASTE)
            client.execute_command(NO_TILT)
        until(lambda: all(map(_knows_all, clients)))
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


def _knows_all(client: redis.Redis) -> bool:
    """Return whether a sentinel knows the other sentinels and the replica."""
    state = client.sentinel_master("turvo")
    return bool(state["num-other-sentinels"] == 2 and state["num-slaves"] == 1)


@contextmanager
def cluster_of_three() -> Iterator[list[RedisServer]]:
    """Run three masters that share the slots."""
    with ExitStack() as stack:
        nodes: list[RedisServer] = []
        clients: list[redis.Redis] = []
        buses = [free_port() for _ in range(3)]
        for i, bus in enumerate(buses):
            options = ("cluster-enabled yes", f"cluster-port {bus}")
            nodes.append(stack.enter_context(RedisServer(*options, port=0)))
            clients.append(stack.enter_context(nodes[i].client()))
            slots = (FIRST_SLOTS[i], FIRST_SLOTS[i + 1] - 1)
            clients[i].execute_command("CLUSTER ADDSLOTSRANGE", *slots)
            clients[i].execute_command("CLUSTER SET-CONFIG-EPOCH", i + 1)
            for node, other_bus in zip(nodes[:i], buses[:i], strict=True):
                meet = ("127.0.0.1", port_of(node), other_bus)
                clients[i].execute_command("CLUSTER MEET", *meet)
        until(lambda: all(map(_is_settled, clients)))
        yield nodes


def _is_settled(client: redis.Redis) -> bool:
    """Return whether a node knows all three, and that no slot is missing."""
    state = client.execute_command("CLUSTER INFO")
    return bool(state["cluster_state"] == "ok" and state["cluster_known_nodes"] == "3")
