"""One login for all your Turvo scripts: an auth for ``requests`` that shares its token.

In a script::

    import requests
    from turvo_session import TurvoAuth

    session = requests.Session()
    session.auth = TurvoAuth.from_env()
    url = "https://publicapi.turvo.com/v1/shipments/list"
    print(session.get(url, timeout=30).json())

or, with paths, timeouts, retries and lists of several pages::

    from turvo_session import TurvoSession

    session = TurvoSession.from_env()
    for shipment in session.records("/shipments/list", "shipments"):
        print(shipment["id"])

``from_env()`` needs ``TURVO_API_KEY``, ``TURVO_USERNAME`` and ``TURVO_PASSWORD`` in the
environment, and ``REDIS_URL`` to share the token between processes.

- ``TurvoAuth`` puts the token on requests, renews it, and answers a 401. Its
  ``token()``, ``login()``, ``forget()``, ``status()`` and ``stats`` are for operators.
- ``TurvoSession`` is a ``requests.Session`` for Turvo: ``details()``, ``records()``.
- ``SettingsError``, ``CredentialsRejected``, ``TokenEndpointUnavailable`` and
  ``InvalidTokenResponse`` say why there is no token (``TurvoAuthError`` is any of
  them), and ``TurvoResponseError`` says what Turvo answered to a call.
- ``RedisStore`` shares the token, ``MemoryStore`` keeps it in the process.
- ``Token``, ``TokenStatus`` and ``Stats`` are what the auth returns.
- ``TokenStore``, ``Snapshot``, ``Slot``, ``Change`` and ``StoreError`` are for a store
  of your own.
- ``turvo_session.testing`` has a local Turvo for your tests, and
  ``turvo_session.events`` what ``on_event`` gets.
"""

from __future__ import annotations

from .auth import Stats, TurvoAuth
from .errors import (
    CredentialsRejected,
    InvalidTokenResponse,
    SettingsError,
    TokenEndpointUnavailable,
    TurvoAuthError,
    TurvoResponseError,
)
from .redis_store import RedisStore
from .session import TurvoSession
from .source import TokenStatus
from .store import Change, MemoryStore, Slot, Snapshot, StoreError, TokenStore
from .tokens import Token

__version__ = "1.4.0"

__all__ = [  # noqa: RUF022 - in the order in which a reader needs them
    "TurvoAuth",
    "TurvoSession",
    "RedisStore",
    "MemoryStore",
    "TurvoAuthError",
    "SettingsError",
    "CredentialsRejected",
    "TokenEndpointUnavailable",
    "InvalidTokenResponse",
    "TurvoResponseError",
    "Token",
    "TokenStatus",
    "Stats",
    "TokenStore",
    "StoreError",
    "Snapshot",
    "Slot",
    "Change",
]
