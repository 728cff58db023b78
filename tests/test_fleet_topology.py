"""Beyond one machine: real sentinels with a failover, a real cluster of three, every kind of URL."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fleet import KEY, answers, finish, go, pass_calls, shared, start, trouble, until, workers
from proxies import Proxy
from redis.sentinel import Sentinel
from servers import RedisServer, free_port

from turvo_session.testing import FakeTurvo


def port_of(server: RedisServer) -> int:
    assert server.port
    return server.port


# Sentinel


class Watched:
    """A master and its replica, watched by three sentinels that agree by two."""

    def __init__(self, stack: ExitStack) -> None:
        at_once = "repl-diskless-sync-delay 0"
        self.master, self.replica = (stack.enter_context(RedisServer(at_once, port=0)) for _ in range(2))
        with self.replica.client() as client:
            client.replicaof("127.0.0.1", port_of(self.master))
            until(lambda: client.info("replication")["master_link_status"] == "up")
        watch = [
            f"sentinel monitor turvo 127.0.0.1 {self.master.port} 2",
            "sentinel down-after-milliseconds turvo 500",
            "sentinel failover-timeout turvo 2000",
        ]
        self.sentinels = [stack.enter_context(RedisServer(*watch, port=0, sentinel=True)) for _ in range(3)]
        for sentinel in self.sentinels:
            until(lambda sentinel=sentinel: self._knows_all(sentinel), every=0.05)

    @property
    def ports(self) -> list[int]:
        return [port_of(sentinel) for sentinel in self.sentinels]

    def failed_over(self) -> bool:
        """Whether every sentinel takes the replica for the master, and the replica does so too."""
        try:
            with self.replica.client() as client:
                roles = [client.role()[0]]
            masters = [
                Sentinel([("127.0.0.1", port)], socket_timeout=1).discover_master("turvo")[1]
                for port in self.ports
            ]
        except redis.ConnectionError:  # nobody is, or connections are dropped since the role changes
            return False
        return roles == [b"master"] and masters == [self.replica.port] * 3

    def _knows_all(self, sentinel: RedisServer) -> bool:
        with sentinel.client() as client:
            state = client.sentinel_master("turvo")
            return bool(state["num-other-sentinels"] == 2 and state["num-slaves"] == 1)


@pytest.fixture
def watched() -> Iterator[Watched]:
    with ExitStack() as stack:
        yield Watched(stack)


def test_a_failover_by_real_sentinels_fails_no_call_and_costs_at_most_one_login(
    turvo: FakeTurvo, watched: Watched
) -> None:
    """The master is killed under load: the token goes on serving, and is shared through the new master."""
    way = ("sentinel", watched.ports, KEY)
    with (
        workers(4, turvo.environ, shared=way) as fleet,
        workers(2, turvo.environ, shared=way) as newcomers,
    ):
        start(fleet, threads=2, pause=0.05)
        pass_calls(turvo, 50)
        assert turvo.token_requests == 1
        with watched.replica.client() as client:
            until(lambda: client.exists(KEY))
        watched.master.kill()
        until(watched.failed_over, every=0.05)
        assert answers(go(newcomers, threads=2)) == {200: 4}
        assert turvo.token_requests <= 1 + 1
        before = turvo.token_requests
        turvo.revoke()
        pass_calls(turvo, 100)
        assert answers([*finish(fleet), *go(newcomers)]).keys() == {200}
        assert turvo.token_requests == before + 1


# Cluster


class Cluster:
    """Three masters that have shared the slots out among them."""

    def __init__(self, stack: ExitStack) -> None:
        self.nodes = [
            stack.enter_context(RedisServer("cluster-enabled yes", f"cluster-port {free_port()}", port=0))
            for _ in range(3)
        ]
        self.ports = [port_of(node) for node in self.nodes]
        bounds = [0, 5461, 10923, 16384]
        for i, node in enumerate(self.nodes):
            with node.client() as client:
                client.execute_command("CLUSTER ADDSLOTSRANGE", bounds[i], bounds[i + 1] - 1)
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", i + 1)
                for other in self.nodes[:i]:
                    bus = int(other.options[1].split()[1])
                    client.execute_command("CLUSTER MEET", "127.0.0.1", port_of(other), bus)
        for node in self.nodes:
            until(lambda node=node: self._settled(node), every=0.05)

    def _settled(self, node: RedisServer) -> bool:
        with node.client() as client:
            state = client.execute_command("CLUSTER INFO")
            return bool(state["cluster_state"] == "ok" and state["cluster_known_nodes"] == "3")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(stack)


def test_a_real_cluster_of_three_shares_a_token_on_each_of_its_nodes(cluster: Cluster) -> None:
    """Cold start, waiting, waking and revocation wherever the slot of the key is; a node may die."""
    with FakeTurvo(login_seconds=0.3) as turvo:
        for i, key in enumerate(["turvo:auth_token", "turvo:a", "turvo:{tenant}:auth_token"]):
            before = turvo.token_requests
            with workers(2, turvo.environ, shared=("cluster", cluster.ports, key)) as fleet:
                assert answers(go(fleet, threads=2)) == {200: 4}
                assert turvo.token_requests == before + 1
                with cluster.nodes[i].client() as client:  # raises if the key's slot is another node's
                    assert client.exists(key)
                turvo.revoke()
                assert answers(go(fleet, threads=2)) == {200: 4}
                assert turvo.token_requests == before + 2
                assert not trouble(fleet)
                if i == 2:
                    cluster.nodes[i].kill()
                    turvo.revoke()
                    calls = go(fleet, threads=2)
                    assert answers(calls) == {200: 4}
                    assert max(call.seconds for call in calls) < 3


# URLs


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """What a server on 127.0.0.1 needs to speak TLS, and the certificate that its clients trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    trusted = tmp_path / "certificate.pem"
    trusted.write_bytes(certificate.public_bytes(pem))
    private = tmp_path / "key.pem"
    private.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, private)
    return context, trusted


@pytest.mark.parametrize("scheme", ["redis", "rediss", "unix"])
def test_redis_url_takes_every_scheme(
    turvo: FakeTurvo, scheme: str, tls: tuple[ssl.SSLContext, Path]
) -> None:
    """Two processes share one token over TCP, over TLS with a certificate that is checked, over a socket."""
    context, trusted = tls
    turvo.login_seconds = 0.3
    with (
        RedisServer(port=None if scheme == "unix" else 0) as server,
        Proxy(server.port or 0, tls=context) as proxy,
    ):
        url = f"{proxy.url}?ssl_ca_certs={trusted}" if scheme == "rediss" else server.url
        assert url.startswith(f"{scheme}://")
        with workers(2, shared(turvo, url)) as fleet:
            assert answers(go(fleet, threads=2)) == {200: 4}
            assert turvo.token_requests == 1
            assert not trouble(fleet)
