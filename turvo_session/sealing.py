"""Encryption at rest: Fernet (extra ``encryption``), with rotation, bound to the name of the key."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .errors import SettingsError
from .secret import Hidden, Secret

UNREADABLE = b"?"
"""What a value that cannot be opened is taken for: one that holds no token, to be replaced."""

_HOW = "python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"


class Keyring(Hidden):
    """Keys that do not show, the first of which seals."""

    def __init__(self, keys: Iterable[str] | Keyring) -> None:
        self._keys: Secret[tuple[str, ...]] = Secret(keys.keys if isinstance(keys, Keyring) else tuple(keys))

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys."""
        return self._keys.reveal()

    def __repr__(self) -> str:
        return f"<Keyring of {len(self.keys)}>"


class Sealing(Hidden):
    """Seals values for one ``name``; every key of the ring opens them.

    Raises ``SettingsError`` if the package ``cryptography`` is missing, or a key is none.
    """

    def __init__(self, ring: Keyring, name: str) -> None:
        self._name = name.encode(errors="surrogatepass") + b"\0"
        fernet, trouble = _fernet(ring)
        self._fernet: Secret[Any] = Secret(fernet)
        if trouble:
            raise SettingsError(f"TURVO_TOKEN_ENCRYPTION_KEYS: {trouble}")

    def seal(self, value: bytes) -> bytes:
        """``value`` and the name it is for, encrypted and signed."""
        sealed: bytes = self._fernet.reveal().encrypt(self._name + value)
        return sealed

    def open(self, sealed: bytes) -> bytes:
        """The value; ``UNREADABLE`` if it was sealed with another key, for another name, or not at all."""
        from cryptography.fernet import InvalidToken

        try:
            opened: bytes = self._fernet.reveal().decrypt(sealed)
        except InvalidToken:
            return UNREADABLE
        return opened.removeprefix(self._name) if opened.startswith(self._name) else UNREADABLE


def _fernet(ring: Keyring) -> tuple[Any, str]:
    try:
        from cryptography.fernet import Fernet, MultiFernet
    except ImportError:
        return None, "the package cryptography is missing: pip install 'turvo_session[encryption]'"
    found = []
    for number, key in enumerate(ring.keys, 1):
        try:
            found.append(Fernet(key))
        except (ValueError, TypeError):
            return None, f"number {number} is no Fernet key; make one with: {_HOW}"
    return MultiFernet(found), ""
