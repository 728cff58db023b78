"""Encryption at rest: Fernet (extra ``encryption``), with rotation, bound to a key.

A value that is copied to another key in Redis does not open there, since the name of
its key is sealed together with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from .errors import SettingsError
from .secret import Hidden, Secret

UNREADABLE = b"?"
"""What a value that cannot be opened is read as: not a token, so it is replaced."""

_HOW = (
    "make one with: python -c 'from cryptography.fernet import Fernet; "
    "print(Fernet.generate_key().decode())'"
)
# Pythons differ in what else they decode: blanks between, a missing "=" at the end.
_IS_FERNET_KEY = re.compile(r"[A-Za-z0-9_+/-]{43}=").fullmatch


class Keyring(Hidden):
    """Encryption keys. The first one seals, and all of them open.

    Raises ``SettingsError`` for a single string in place of several keys.
    """

    def __init__(self, keys: Iterable[str] | Keyring) -> None:
        self.keys: tuple[Secret[object], ...]
        if isinstance(keys, Keyring):
            self.keys = keys.keys
            return
        is_one_string = isinstance(keys, str | bytes)
        if not is_one_string:
            self.keys = tuple(map(Secret, keys))
        del keys
        if is_one_string:
            raise SettingsError("encryption_keys must be a list of keys, not a string")

    def __repr__(self) -> str:
        return f"<Keyring of {len(self.keys)}>"


class Sealing(Hidden):
    """Seals values for one ``name``. Every key of the ring opens them.

    Raises ``SettingsError`` if a key is not a Fernet key, or if the package
    ``cryptography`` is missing.
    """

    def __init__(self, ring: Keyring, name: str) -> None:
        self._name = name.encode(errors="surrogatepass") + b"\0"
        self._fernet = Secret(_make_multi_fernet(ring))

    def seal(self, value: bytes) -> bytes:
        """Return ``value`` and the name it is for, encrypted and signed."""
        sealed: bytes = self._fernet.reveal().encrypt(self._name + value)
        return sealed

    def open(self, sealed: bytes) -> bytes:
        """Return the sealed value.

        ``UNREADABLE`` if it was sealed with another key, for another name, or not at
        all.
        """
        from cryptography.fernet import InvalidToken

        try:
            opened: bytes = self._fernet.reveal().decrypt(sealed)
        except InvalidToken:
            return UNREADABLE
        if not opened.startswith(self._name):
            return UNREADABLE
        return opened.removeprefix(self._name)


def _make_multi_fernet(ring: Keyring) -> Any:
    """Return the ``MultiFernet`` of the keys."""
    try:
        from cryptography.fernet import Fernet, MultiFernet
    except ImportError:
        # Raised below, where it has no context.
        trouble = "the package cryptography must be installed: " + (
            "pip install 'turvo_session[encryption]'"
        )
    else:
        trouble = _describe_wrong_key(ring)
    if trouble:
        raise SettingsError(f"TURVO_TOKEN_ENCRYPTION_KEYS: {trouble}")
    spelling = str.maketrans("+/", "-_")
    return MultiFernet(
        [Fernet(_key_as_text(key).translate(spelling)) for key in ring.keys]
    )


def _describe_wrong_key(ring: Keyring) -> str:
    """Return in words which key is not a Fernet key, if any."""
    for number, key in enumerate(ring.keys, 1):
        if not _IS_FERNET_KEY(_key_as_text(key)):
            return (
                f"key number {number} must be a Fernet key, 44 characters of which "
                f"the last is '='; {_HOW}"
            )
    return ""


def _key_as_text(key: Secret[object]) -> str:
    """Return a key, which may be ``bytes``; "" if it is neither that nor a string."""
    value = key.reveal()
    if isinstance(value, bytes):
        return value.decode("ascii", "replace")
    return value if isinstance(value, str) else ""
