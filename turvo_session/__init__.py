"""A ``requests`` auth for the Turvo API: one login for a whole fleet of scripts, healed when it breaks."""

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

__version__ = "1.1.1"

__all__ = [
    "Change",
    "CredentialsRejected",
    "InvalidTokenResponse",
    "MemoryStore",
    "RedisStore",
    "SettingsError",
    "Slot",
    "Snapshot",
    "Stats",
    "StoreError",
    "Token",
    "TokenEndpointUnavailable",
    "TokenStatus",
    "TokenStore",
    "TurvoAuth",
    "TurvoAuthError",
    "TurvoResponseError",
    "TurvoSession",
]
