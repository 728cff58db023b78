"""Settings: what they may be, where they come from, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis
from cryptography.fernet import Fernet

from tests.support.settings_values import (
    AFTER,
    BEFORE,
    DEFAULT,
    ENVIRON,
    GOOD,
    NO_FILE,
    WRONG,
)
from turvo_session import MemoryStore, RedisStore, SettingsError
from turvo_session.settings import ALL_VARIABLES, FILE_VARIABLES, Settings, read

REDIS = {"REDIS_URL": "redis://127.0.0.1:1/0"}
FERNET_KEY = Fernet.generate_key().decode()


def complaint(settings: Settings) -> str:
    """Return what ``check()`` says, which must have no cause that shows more."""
    with pytest.raises(SettingsError) as caught:
        settings.check()
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    return str(caught.value)


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        (f"{DEFAULT}/", DEFAULT),
        ("HTTPS://PublicAPI.Turvo.com:443", DEFAULT),
        ("https://publicapi.turvo.com:8443/v2", "https://publicapi.turvo.com:8443/v2"),
        ("https://publicapi.turvo.com/V1/", "https://publicapi.turvo.com/V1"),
        ("https://gateway.example/turvo/", "https://gateway.example/turvo/v1"),
        ("https://b\xfccher.example", "https://xn--bcher-kva.example/v1"),
        ("https://[2001:db8::1]/v1", "https://[2001:db8::1]/v1"),
        ("http://127.0.0.1:80/v1", "http://127.0.0.1/v1"),
        ("http://localhost:443", "http://localhost:443/v1"),
        ("http://[::1]:8080/v1/", "http://[::1]:8080/v1"),
    ],
)
def test_spellings_of_one_base_url_are_the_same(given: str, normal: str) -> None:
    settings = Settings(**{**GOOD, "base_url": given})
    settings.check()
    assert settings.normal_base_url == normal
    assert settings.token_key == Settings(**{**GOOD, "base_url": normal}).token_key


@pytest.mark.parametrize(("name", "values", "said"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_argument_is_named(name: str, values: list[Any], said: str) -> None:
    for value in values:
        text = complaint(Settings(**{**GOOD, name: value}))
        assert text.startswith(f"{name} {said}"), value
        assert "pass-word" not in text


def test_settings_give_what_was_set_and_the_defaults_of_the_rest() -> None:
    tls = {"verify": __file__, "cert": (__file__, __file__), "proxies": {"https": "x"}}
    given = {"token_timeout": (1, 2), "expiry_buffer": 60, "store": MemoryStore()}
    given |= {"on_event": print, "password": lambda: "correct horse", **tls}
    rest: dict[str, Any] = {"verify": True, "cert": None, "proxies": {}}
    for settings, expected in (
        (Settings(**GOOD | given), ((1.0, 2.0), 60.0, given["store"], print, tls)),
        (Settings(**GOOD), ((3.05, 10.0), 300.0, None, None, rest)),
    ):
        settings.check()
        options = (settings.timeouts, settings.expiry_buffer, settings.store)
        assert (*options, settings.on_event, settings.tls.for_request()) == expected
        credentials = settings.credentials
        names = ("api_key", "username", "client_id", "client_secret")
        values = [getattr(credentials, name).reveal() for name in names]
        assert values == [GOOD["api_key"], GOOD["username"], "publicapi", "secret"]
        assert credentials.current_password().reveal() == "correct horse"
    assert Settings(**GOOD | given).arguments() == GOOD | given


def test_each_tenant_user_and_base_url_has_a_key_of_its_own() -> None:
    """One user can have two tenants, told apart by the API key alone."""
    others = [
        *({}, {"username": "another"}, {"client_id": "another"}),
        *({"api_key": "key-0002"}, {"base_url": "https://gateway.example/v1"}),
        {"client_id": f"publicapi\n{GOOD['username']}", "username": ""},
        {"username": "j\udcf6rg"},  # as the environment holds bytes that are not UTF-8
    ]
    keys = {Settings(**{**GOOD, **other}).token_key for other in others}
    assert len(keys) == 7
    assert all(key.startswith("turvo:auth_token:{") and len(key) == 31 for key in keys)
    assert Settings(**{**GOOD, "password": "new"}).token_key in keys


def test_three_variables_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an ``environ``, those of the process at the time of the call."""
    settings = read({**ENVIRON, "TURVO_CLIENT_ID": ""}, {})
    settings.check()
    assert (settings.normal_base_url, settings.store) == (DEFAULT, None)
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    read(None, {}).check()
    monkeypatch.delenv("TURVO_PASSWORD")
    monkeypatch.setenv("TURVO_USERNAME", "")
    unset = "TURVO_USERNAME is not set; TURVO_PASSWORD is not set"
    assert complaint(read(None, {})) == unset


@pytest.mark.parametrize("variable", ALL_VARIABLES)
def test_a_blank_at_either_end_of_any_variable_is_named(variable: str) -> None:
    environ: dict[str, Any] = {**ENVIRON, **REDIS}
    environ.pop(variable.removesuffix("_FILE"), None)
    for value, said in ((" x", BEFORE), ("x\n", AFTER), (5, "must be a string")):
        text = complaint(read({**environ, variable: value}, {}))
        assert f"{variable} {said}" in text


def test_an_override_takes_the_place_of_its_variable() -> None:
    read({"TURVO_BASE_URL": "nonsense", "TURVO_API_KEY_FILE": NO_FILE}, GOOD).check()
    assert complaint(read(ENVIRON, {"username": ""})) == "username is not set"
    wrong, store = {**ENVIRON, "REDIS_URL": "http://x"}, MemoryStore()
    assert complaint(read(wrong, {})).startswith("REDIS_URL must be a URL such as")
    settings = read(wrong, {"store": store})
    settings.check()
    assert settings.store is store


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("usrname", "'usrname' (did you mean 'username'?)"),
        ("TURVO_PASSWORD", "'TURVO_PASSWORD' (did you mean 'password'?)"),
        ("timeout", "'timeout' (did you mean 'token_timeout'?)"),
        ("redis_url", "'redis_url' (set it in the environment, or give store="),
        ("zzz", "there is no option 'zzz'"),
    ],
)
def test_a_wrong_option_is_named_with_the_nearest(option: str, hint: str) -> None:
    assert hint in complaint(read(ENVIRON, {option: "pass-word"}))


@pytest.mark.parametrize("environ", [".env", ["TURVO_API_KEY=pass-word"], 5])
def test_an_environ_that_is_not_a_mapping_is_explained(environ: Any) -> None:
    text = complaint(read(environ, {}))
    assert text.startswith("environ must be a mapping such as os.environ, not a ")
    assert text.endswith("dotenv_values() of the package python-dotenv")


@pytest.mark.parametrize("variable", FILE_VARIABLES)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\n", "is empty"),
        (b"pass-word\n\n", AFTER),
        (b" pass-word", BEFORE),
        (b"\xffpass-word", "must be UTF-8 text"),
        (b"x" * 65537, "is larger than 64 KB"),
        ("no file", "cannot be read: No such file or directory"),
        ("", "cannot be read: Is a directory"),
        ("\0", "cannot be read: not a path"),
    ],
    ids=range(8),
)
def test_a_file_without_a_setting_in_it_is_named(
    tmp_path: Path, variable: str, content: bytes | str, said: str
) -> None:
    path = tmp_path / (content if isinstance(content, str) else "pass-word")
    if isinstance(content, bytes):
        path.write_bytes(content)
    environ = {name: value for name, value in ENVIRON.items() if name != variable}
    text = complaint(read({**environ, f"{variable}_FILE": str(path)}, {}))
    assert f"{variable}_FILE {said}" in text
    assert f"{variable} is not set" not in text
    assert "pass-word" not in text
    both = {**environ, variable: "x", f"{variable}_FILE": str(path)}
    assert f"{variable} and {variable}_FILE are both set" in complaint(read(both, {}))


def test_secrets_can_be_in_files_without_their_last_line_end(tmp_path: Path) -> None:
    environ = {"TURVO_USERNAME": "u"}
    for variable, content in (
        ("TURVO_API_KEY", "key-0001\n"),
        ("TURVO_PASSWORD", "correct horse\r\n"),
        ("TURVO_CLIENT_SECRET", "\ufeffshh"),
        ("REDIS_URL", "redis://127.0.0.1:1/0\n"),
        ("TURVO_TOKEN_ENCRYPTION_KEYS", FERNET_KEY),
    ):
        (tmp_path / variable).write_text(content)
        environ[f"{variable}_FILE"] = str(tmp_path / variable)
    settings = read(environ, {})
    settings.check()
    credentials = settings.credentials
    assert credentials.api_key.reveal() == "key-0001"
    assert credentials.client_secret.reveal() == "shh"
    assert isinstance(settings.store, RedisStore)
    password = tmp_path / "TURVO_PASSWORD"
    assert credentials.current_password().reveal() == "correct horse"
    password.write_text("another\n")
    assert credentials.current_password().reveal() == "another"
    password.unlink()
    with pytest.raises(SettingsError, match="TURVO_PASSWORD_FILE cannot be read: No"):
        credentials.current_password()


@pytest.mark.parametrize(
    "url",
    ["redis://127.0.0.1:1/0", "rediss://:pw@127.0.0.1:1", "unix:///no/such/socket"],
)
def test_a_redis_url_makes_a_store_without_a_word_to_redis(url: str) -> None:
    environ = {**ENVIRON, "REDIS_URL": url}
    own = f"<RedisStore {Settings(**GOOD).token_key}>"
    assert repr(read(environ, {}).store) == own
    named = read({**environ, "TURVO_TOKEN_KEY": "mine"}, {})
    assert repr(named.store) == "<RedisStore mine>"


def test_encryption_keys_are_separated_by_commas_and_checked_in_any_case() -> None:
    name = "TURVO_TOKEN_ENCRYPTION_KEYS"
    for keys in (",", FERNET_KEY, f"{FERNET_KEY} , {FERNET_KEY}"):
        settings = read({**ENVIRON, **REDIS, name: keys}, {})
        settings.check()
        assert isinstance(settings.store, RedisStore)
        assert bool(settings.store._sealing) is (FERNET_KEY in keys)
    for keys in ("junk", f"{FERNET_KEY},junk"):
        for overrides in ({}, {"store": MemoryStore()}):
            assert name in complaint(read({**ENVIRON, name: keys}, overrides))


def test_a_given_store_must_encrypt_if_there_are_encryption_keys() -> None:
    environ = {**ENVIRON, "TURVO_TOKEN_ENCRYPTION_KEYS": FERNET_KEY}
    client = redis.Redis(port=1)
    text = complaint(read(environ, {"store": RedisStore(client, "key")}))
    assert "the given store does not encrypt" in text
    read(ENVIRON, {"store": RedisStore(client, "key")}).check()
    encrypting = RedisStore(client, "key", encryption_keys=[FERNET_KEY])
    for store in (encrypting, MemoryStore(), None):
        read(environ, {"store": store}).check()
