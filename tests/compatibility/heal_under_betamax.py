"""A healed 401 that betamax records, and a cassette played back without Turvo."""

from __future__ import annotations

import sys
import tempfile
import time

import requests
from betamax import Betamax

from turvo_session import Change, MemoryStore, Slot, Token, TurvoAuth
from turvo_session.testing import FakeTurvo
from turvo_session.tokens import dump

PACKAGE = "betamax"
REQUIRES = ["betamax"]
HOW = "healed 401; for playback put a token into the store, as logins are not recorded"


def get(auth: TurvoAuth, folder: str, cassette: str) -> int:
    """Return the status of a GET through a recorder."""
    session = requests.Session()
    session.auth = auth
    with Betamax(session, cassette_library_dir=folder).use_cassette(cassette):
        url = f"{auth.base_url}/shipments/list"
        return session.get(url, timeout=5).status_code


def store_with_token() -> MemoryStore:
    """Return a store with a token, so that no login is needed."""
    store, now = MemoryStore(), time.monotonic()
    token = Token("played-back", now, 3600.0, 300.0)
    store.swap(store.read(), Change(token=Slot(dump(token, now), 3600.0)))
    return store


def main() -> int:
    """Return 0 if recording heals a 401, and playback needs no server."""
    with tempfile.TemporaryDirectory() as folder:
        with FakeTurvo() as turvo:
            environ = turvo.environ
            auth = TurvoAuth.from_env(environ)
            recorded = get(auth, folder, "plain")
            turvo.revoke()
            healed = get(auth, folder, "healed")
        played = TurvoAuth.from_env(environ, store=store_with_token())
        status = get(played, folder, "plain")
    replays, logins = auth.stats.replays, played.stats.logins
    print(f"recorded {recorded}, healed {healed}, played back {status}")
    as_expected = (replays, logins) == (1, 0)
    return 0 if {recorded, healed, status} == {200} and as_expected else 1


if __name__ == "__main__":
    sys.exit(main())
