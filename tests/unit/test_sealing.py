"""Encryption at rest: the keys read, and everybody else sees a value to be replaced."""

from __future__ import annotations

import base64
import re
import subprocess
import sys

import pytest
from cryptography.fernet import Fernet, MultiFernet

from turvo_session import SettingsError
from turvo_session.sealing import UNREADABLE, Keyring, Sealing

KEY = "turvo:auth_token"
ONE, TWO, THREE = (Fernet.generate_key().decode() for _ in range(3))


def sealing(*keys: object, name: str = KEY) -> Sealing:
    return Sealing(Keyring(keys), name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("write", "read", "is_readable"),
    [
        ([ONE], [TWO, ONE], True),
        ([TWO, ONE], [TWO], True),
        ([TWO, ONE], [ONE], False),
        ([ONE], [TWO, THREE], False),
    ],
)
def test_the_first_key_writes_and_every_key_reads(
    write: list[str], read: list[str], is_readable: bool
) -> None:
    sealed = sealing(*write).seal(b"value")
    assert b"value" not in sealed and sealed.isascii()
    assert (sealing(*read).open(sealed) == b"value") is is_readable


@pytest.mark.parametrize(
    "sealed",
    [
        b"",
        b'{"access_token": "abc"}',
        "ä".encode(),
        Fernet(ONE).encrypt(b"value"),
        sealing(ONE, name="turvo:auth_tokens").seal(b"value"),
        sealing(ONE, name="").seal(b"value"),
        sealing(ONE).seal(b"value")[:-4],
    ],
    ids=range(7),
)
def test_what_was_not_sealed_for_this_name_with_a_key_is_unreadable(
    sealed: bytes,
) -> None:
    assert sealing(ONE).open(sealed) == UNREADABLE


def test_cryptography_can_open_a_value_and_seal_it_anew() -> None:
    sealed = sealing(ONE).seal(b"value")
    rotated = MultiFernet([Fernet(TWO), Fernet(ONE)]).rotate(sealed)
    assert Fernet(ONE).decrypt(sealed) == KEY.encode() + b"\0value"
    assert sealing(TWO).open(rotated) == b"value"


@pytest.mark.parametrize(
    "wrong",
    ["short", ONE[:-1], f"AA{ONE}", "ä" * 44, f"{ONE[:9]} {ONE[9:]}", f"{ONE}\n", 5],
    ids=range(7),
)
def test_a_wrong_key_is_named_by_its_number_and_not_shown(wrong: object) -> None:
    with pytest.raises(SettingsError, match="key number 2 must be a Fernet") as caught:
        sealing(ONE, wrong)
    text = str(caught.value)
    assert text.startswith("TURVO_TOKEN_ENCRYPTION_KEYS: ") and str(wrong) not in text
    assert caught.value.__context__ is None


def test_the_command_in_that_message_makes_a_key() -> None:
    with pytest.raises(SettingsError) as caught:
        sealing("short")
    command = re.findall("python -c '(.*)'", str(caught.value))[0]
    made = subprocess.check_output([sys.executable, "-c", command], text=True)
    assert sealing(made.strip()).seal(b"value")


def test_a_key_may_be_bytes_and_in_the_usual_base64() -> None:
    for key in (ONE.encode(), base64.b64encode(b"\xff\xfe" * 16)):
        assert sealing(key).open(sealing(key.decode()).seal(b"value")) == b"value"


def test_one_string_in_place_of_a_list_of_keys_is_an_error() -> None:
    with pytest.raises(SettingsError, match="must be a list of keys"):
        Keyring(ONE)


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)
    with pytest.raises(SettingsError, match=r"install 'turvo_session\[encryption\]'"):
        sealing(ONE)
