"""What one would use: each peer in the way that its own documentation shows, behind the
same two methods."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any, ClassVar, NamedTuple

import requests
from requests import PreparedRequest
from requests.auth import HTTPBasicAuth

API_KEY, USERNAME, PASSWORD = (
    "bench-api-key",
    "dispatcher@broker.example",
    "correct horse",
)
CLIENT_ID, CLIENT_SECRET = "publicapi", "secret"
TIMEOUT = 60


class Site(NamedTuple):
    """Where the servers are."""

    base_url: str
    redis_url: str

    @property
    def url(self) -> str:
        """What is asked for."""
        return f"{self.base_url}/shipments/list"

    @property
    def token_url(self) -> str:
        """Where tokens are given out."""
        return f"{self.base_url}/oauth/token"


class Peer:
    """A way to call an API with a token. Its object is one user's client, shared by its
    threads."""

    title: ClassVar[str]
    distribution: ClassVar[str]
    imports: ClassVar[str]

    def __init__(self, site: Site) -> None:
        self.site = site
        self.session = requests.Session()
        self.session.headers["x-api-key"] = API_KEY

    def get(self) -> int:
        """The status of a GET of the API, with a login before it if this peer thinks
        so."""
        return self.session.get(self.site.url, timeout=TIMEOUT).status_code

    def attach(self) -> Callable[[PreparedRequest], object]:
        """What puts the token on a request; asked for after a ``get``."""
        auth: Any = self.session.auth
        return auth

    def log_in(self) -> str:
        """A login made by hand, for those that have none."""
        fields = {"grant_type": "password", "username": USERNAME, "password": PASSWORD}
        token: str = requests.post(
            self.site.token_url, json=fields, timeout=TIMEOUT
        ).json()["access_token"]
        return token


class ByHand(Peer):
    """Two plain headers: what a script had before."""

    title, distribution, imports = "two plain headers", "requests", "requests"

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.headers = {
            "Authorization": f"Bearer {self.log_in()}",
            "x-api-key": API_KEY,
        }

    def get(self) -> int:
        return self.session.get(
            self.site.url, headers=self.headers, timeout=TIMEOUT
        ).status_code

    def attach(self) -> Callable[[PreparedRequest], object]:
        raise NotImplementedError(
            "no call is the least that one can do: see speed.by_hand"
        )


class Basic(Peer):
    """What ``requests`` itself has for a user name and a password."""

    title, distribution, imports = "requests HTTPBasicAuth", "requests", "requests"

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.session.auth = HTTPBasicAuth(USERNAME, PASSWORD)


class Ours(Peer):
    """This library, the token in Redis."""

    title, distribution, imports = "turvo_session", "turvo_session", "turvo_session"

    def __init__(self, site: Site) -> None:
        from turvo_session import TurvoAuth

        super().__init__(site)
        names = {
            "BASE_URL": site.base_url,
            "API_KEY": API_KEY,
            "USERNAME": USERNAME,
            "PASSWORD": PASSWORD,
        }
        environ = {f"TURVO_{name}": value for name, value in names.items()} | {
            "REDIS_URL": site.redis_url
        }
        self.auth = TurvoAuth.from_env(environ)
        self.session.auth = self.auth


class RedisGet(Peer):
    """A common script: the token in Redis, read for every request, written after a
    login."""

    title, distribution, imports = "Redis GET per request", "redis", "redis"
    key = "bench:token"

    def __init__(self, site: Site) -> None:
        import redis

        super().__init__(site)
        self._redis = redis.Redis.from_url(site.redis_url)
        self.session.auth = self._attach

    def _attach(self, request: PreparedRequest) -> PreparedRequest:
        stored: Any = self._redis.get(self.key)
        if stored is None:
            stored = self.log_in().encode()
            self._redis.set(self.key, stored, ex=43000)
        request.headers["Authorization"] = f"Bearer {stored.decode()}"
        return request


class Oauthlib(Peer):
    """requests-oauthlib."""

    title, distribution, imports = (
        "requests-oauthlib",
        "requests-oauthlib",
        "requests_oauthlib",
    )

    def __init__(self, site: Site) -> None:
        from oauthlib.oauth2 import LegacyApplicationClient
        from requests_oauthlib import OAuth2Session

        os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
        super().__init__(site)
        self.session: Any = OAuth2Session(client=LegacyApplicationClient(CLIENT_ID))

    def get(self) -> int:
        if not self.session.token:
            self.session.fetch_token(
                self.site.token_url,
                username=USERNAME,
                password=PASSWORD,
                client_secret=CLIENT_SECRET,
            )
        return super().get()

    def attach(self) -> Callable[[PreparedRequest], object]:
        from requests_oauthlib import OAuth2

        auth: Any = OAuth2(CLIENT_ID, token=self.session.token)
        return auth


class Authlib(Peer):
    """Authlib."""

    title, distribution, imports = (
        "Authlib",
        "Authlib",
        "authlib.integrations.requests_client",
    )

    def __init__(self, site: Site) -> None:
        from authlib.integrations.requests_client import OAuth2Session

        os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
        super().__init__(site)
        self.session: Any = OAuth2Session(
            CLIENT_ID, CLIENT_SECRET, token_endpoint=site.token_url
        )

    def get(self) -> int:
        if not self.session.token:
            self.session.fetch_token(
                self.site.token_url, username=USERNAME, password=PASSWORD
            )
        return super().get()

    def attach(self) -> Callable[[PreparedRequest], object]:
        auth: Any = self.session.token_auth
        return auth


class Oauth2Client(Peer):
    """requests_oauth2client."""

    title, distribution, imports = (
        "requests_oauth2client",
        "requests_oauth2client",
        "requests_oauth2client",
    )

    def __init__(self, site: Site) -> None:
        from requests_oauth2client import OAuth2Client, OAuth2ResourceOwnerPasswordAuth

        super().__init__(site)
        client = OAuth2Client(
            token_endpoint=site.token_url,
            client_id=CLIENT_ID,
            client_secret=CLIENT_SECRET,
            testing=True,
        )
        self.session.auth = OAuth2ResourceOwnerPasswordAuth(
            client, username=USERNAME, password=PASSWORD
        )


class RequestsAuth(Peer):
    """requests_auth, its cache in memory."""

    title, distribution, imports = "requests_auth", "requests_auth", "requests_auth"

    def __init__(self, site: Site) -> None:
        from requests_auth import OAuth2, OAuth2ResourceOwnerPasswordCredentials

        super().__init__(site)
        OAuth2.token_cache.clear()
        self.session.auth = OAuth2ResourceOwnerPasswordCredentials(
            site.token_url, USERNAME, PASSWORD
        )


class Google(Peer):
    """google-auth, renewing in the background."""

    title, distribution, imports = (
        "google-auth",
        "google-auth",
        "google.auth.transport.requests",
    )

    def __init__(self, site: Site) -> None:
        from google.auth.transport.requests import AuthorizedSession
        from google.oauth2.credentials import Credentials

        super().__init__(site)
        self._credentials = Credentials(
            None,
            refresh_token="bench",
            token_uri=site.token_url,
            client_id=CLIENT_ID,
            client_secret=CLIENT_SECRET,
        )
        self._credentials.with_non_blocking_refresh()
        self.session: Any = AuthorizedSession(self._credentials)

    def attach(self) -> Callable[[PreparedRequest], object]:
        from google.auth.transport.requests import Request

        before, login = self._credentials.before_request, Request()
        # Its session hands it a new dict of headers for every request; it adds to one
        # that it knows.
        return lambda request: before(login, request.method, request.url, {})


PEERS = {
    peer.title: peer
    for peer in (
        ByHand,
        Ours,
        Basic,
        Authlib,
        Oauth2Client,
        Oauthlib,
        RequestsAuth,
        Google,
        RedisGet,
    )
}
HERD = [title for title, peer in PEERS.items() if peer not in (ByHand, Basic)]


def missing(peers: Iterable[type[Peer]]) -> list[str]:
    """The distributions (of the extra ``bench``) of peers that cannot be imported
    here."""
    return sorted(
        {
            peer.distribution
            for peer in peers
            if not find_spec(peer.imports.partition(".")[0])
        }
    )
