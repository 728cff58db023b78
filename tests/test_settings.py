"""The environment and the arguments: what they may be, and what is said of the rest."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
import requests
from cryptography.fernet import Fernet
from requests import Request

from turvo_session import MemoryStore, RedisStore, SettingsError, Token, TurvoAuth, TurvoSession, settings
from turvo_session.grant import Grant
from turvo_session.secret import Secret
from turvo_session.testing import FakeTurvo

ENVIRON = {
    "TURVO_API_KEY": "key-0001",
    "TURVO_USERNAME": "dispatcher@broker.example",
    "TURVO_PASSWORD": "correct horse",
}
GOOD = {"base_url": "https://publicapi.turvo.com/v1", "api_key": "key-0001", "username": "u", "password": "p"}


def complaint(**changed: Any) -> str:
    """What is said of arguments with some ``changed``."""
    with pytest.raises(SettingsError) as caught:
        TurvoAuth(**{**GOOD, **changed})
    return str(caught.value)


# The base URL


def test_the_token_endpoint_is_no_base_url() -> None:
    """Turvo's pages name it, and people paste it."""
    for url in ("https://publicapi.turvo.com/v1/oauth/token", "https://publicapi.turvo.com/V1/OAuth/token/ "):
        assert complaint(base_url=url).startswith(
            "base_url is the token endpoint's; what is wanted is the part"
        )


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("https://publicapi.turvo.com/v1", "https://publicapi.turvo.com/v1"),
        ("https://publicapi.turvo.com/v1/", "https://publicapi.turvo.com/v1"),
        ("https://publicapi.turvo.com", "https://publicapi.turvo.com/v1"),
        ("https://publicapi.turvo.com/", "https://publicapi.turvo.com/v1"),
        (" https://publicapi.turvo.com/v1\n", "https://publicapi.turvo.com/v1"),
        ("HTTPS://PublicAPI.Turvo.com/v1", "https://publicapi.turvo.com/v1"),
        ("https://publicapi.turvo.com:443", "https://publicapi.turvo.com/v1"),
        ("https://publicapi.turvo.com:8443/v1", "https://publicapi.turvo.com:8443/v1"),
        ("https://publicapi.turvo.com/v2", "https://publicapi.turvo.com/v2"),
        ("https://publicapi.turvo.com/V1/", "https://publicapi.turvo.com/V1"),
        ("https://gateway.example/turvo/", "https://gateway.example/turvo/v1"),
        ("https://b\xfccher.example", "https://xn--bcher-kva.example/v1"),
        ("https://[2001:db8::1]/v1", "https://[2001:db8::1]/v1"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1"),
        ("http://127.0.0.1:80/v1", "http://127.0.0.1/v1"),
        ("http://localhost:443/v1", "http://localhost:443/v1"),
        ("http://[::1]:8080/v1/", "http://[::1]:8080/v1"),
    ],
)
def test_a_base_url_may_be_spelled_as_people_do(given: str, normal: str) -> None:
    """And what it is spelled like makes no difference to the token's key, or to what counts as ours."""
    auth = TurvoAuth(**{**GOOD, "base_url": given})

    assert auth.base_url == normal
    assert settings.Settings(base_url=given).token_key == settings.Settings(base_url=normal).token_key


@pytest.mark.parametrize(
    "url",
    [
        *(
            "publicapi.turvo.com",
            "//publicapi.turvo.com",
            "https://",
            "https:///v1",
            "http",
            "nonsense",
            "ftp://x/v1",
        ),
        *("https://user@publicapi.turvo.com", "https://user:pass-word@publicapi.turvo.com/v1", "https://x@"),
        *(
            "https://x/v1?key=pass-word",
            "https://x/v1#pass-word",
            "https://x\\y",
            "https://x y/v1",
            "https://*.x/v1",
        ),
        *("https://x:99999", "https://x:port", "https://[::1", "https://\udcff/v1"),
    ],
)
def test_what_is_no_plain_url_is_refused_and_not_repeated(url: str) -> None:
    said = complaint(base_url=url)

    assert said == "base_url is no plain https URL such as https://publicapi.turvo.com/v1"


@pytest.mark.parametrize(
    "host",
    [
        "publicapi.turvo.com",
        "10.0.0.1",
        "0.0.0.0",
        "[::]",
        "localhost.evil.test",
        "127.0.0.1.evil.test",
        "127.1",
    ],
)
def test_plain_http_to_any_host_but_this_machine_is_refused(host: str) -> None:
    assert complaint(base_url=f"http://{host}/v1").startswith("base_url starts with http:")


# The others


@pytest.mark.parametrize(
    "name", ["base_url", "api_key", "username", "password", "client_id", "client_secret"]
)
@pytest.mark.parametrize(
    ("value", "said"),
    [("", "is not set"), (None, "is not set"), (5, "is no text"), (b"pass-word", "is no text")],
)
def test_an_argument_that_is_missing_or_no_text_is_named(name: str, value: object, said: str) -> None:
    assert complaint(**{name: value}) == f"{name} {said}"


@pytest.mark.parametrize(
    "key", ["key-0001\n", " key-0001", "key 0001", "key\r\nX: y", "k\xe9y", "key\x00", "k" * 8193]
)
def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated(key: str) -> None:
    said = complaint(api_key=key)

    assert said.startswith("api_key holds a character")
    assert key not in said


@pytest.mark.parametrize("value", [-1, -0.5, float("nan"), float("inf"), "300", None, True])
def test_an_expiry_buffer_is_a_number_of_seconds(value: object) -> None:
    assert complaint(expiry_buffer=value) == "expiry_buffer is no number of seconds, 0 or more"


@pytest.mark.parametrize(
    "value", [5, None, "55", [1, 2], (1,), (1, 2, 3), (0, 1), (1, 0), (1, None), (1, True), (float("nan"), 1)]
)
def test_a_token_timeout_is_a_pair_of_seconds(value: object) -> None:
    assert complaint(token_timeout=value).startswith("token_timeout is no pair of seconds")


@pytest.mark.parametrize(
    "options", [{"expiry_buffer": 0}, {"token_timeout": (1, 2)}, {"store": MemoryStore()}]
)
def test_what_is_in_order_is_taken(options: dict[str, Any]) -> None:
    assert TurvoAuth(**GOOD, **options).base_url == GOOD["base_url"]


# The environment


def test_three_variables_are_enough() -> None:
    auth = TurvoAuth.from_env(ENVIRON)

    assert auth.base_url == "https://publicapi.turvo.com/v1"
    assert auth.status().store == "<MemoryStore>"


def test_every_mistake_is_told_at_once_by_the_variables_name_and_never_with_a_value() -> None:
    wrong = {
        "TURVO_BASE_URL": "http://elsewhere.example/secret-1",
        "TURVO_API_KEY": "secret-2 ",
        "TURVO_USERNAME": "",
        "TURVO_CLIENT_ID": "",
        "REDIS_URL": "http://:secret-3@x",
        "TURVO_TOKEN_ENCRYPTION_KEYS": "secret-4",
    }

    with pytest.raises(SettingsError) as caught:
        TurvoAuth.from_env(wrong)

    said = str(caught.value)
    told = [problem.split()[0].rstrip(":") for problem in said.split("; ") if problem[:2].isupper()]
    assert sorted(told) == sorted({*wrong, "TURVO_PASSWORD"} - {"TURVO_CLIENT_ID"})
    assert "secret-" not in said
    assert "elsewhere" not in said
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


def test_an_override_stands_in_for_its_variable_and_is_told_by_its_own_name() -> None:
    auth = TurvoAuth.from_env({"TURVO_BASE_URL": "nonsense"}, **GOOD)
    assert auth.base_url == GOOD["base_url"]

    with pytest.raises(SettingsError) as caught:
        TurvoAuth.from_env(ENVIRON, username="", expiry_buffer=-1)
    assert str(caught.value) == "username is not set; expiry_buffer is no number of seconds, 0 or more"

    with pytest.raises(TypeError):
        TurvoAuth.from_env(ENVIRON, pasword="p")


def test_a_store_of_the_callers_own_is_used_instead_of_redis() -> None:
    """Then ``REDIS_URL``, right or wrong, is not read."""
    store = MemoryStore()

    assert TurvoAuth.from_env({**ENVIRON, "REDIS_URL": "http://x"}, store=store).status().store == repr(store)


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:1/0", "rediss://:pw@127.0.0.1:1", "unix:///no/such/socket"]
)
def test_an_auth_is_made_without_a_word_to_redis(url: str) -> None:
    assert TurvoAuth.from_env({**ENVIRON, "REDIS_URL": url}).base_url


@pytest.mark.parametrize(
    "keys",
    ["", ",", Fernet.generate_key().decode(), f" {Fernet.generate_key().decode()} , "],
    ids=["none", "a comma", "one", "one and blanks"],
)
def test_encryption_keys_are_separated_by_commas_and_may_be_none(keys: str) -> None:
    environ = {**ENVIRON, "REDIS_URL": "redis://127.0.0.1:1/0", "TURVO_TOKEN_ENCRYPTION_KEYS": keys}

    assert TurvoAuth.from_env(environ).base_url


@pytest.mark.parametrize("name", settings.STORE_VARIABLES)
@pytest.mark.parametrize("value", [5, b"bytes", None], ids=repr)
def test_a_variable_that_is_no_text_is_told_by_name(name: str, value: Any) -> None:
    """``environ`` may be any mapping."""
    with pytest.raises(SettingsError, match=f"^{name} is no text$"):
        TurvoAuth.from_env({**ENVIRON, "REDIS_URL": "redis://127.0.0.1:1/0", name: value})


@pytest.mark.parametrize(
    "keys", ["junk", f"{Fernet.generate_key().decode()},junk"], ids=["one", "the second"]
)
def test_encryption_keys_are_checked_also_where_there_is_nothing_to_seal(keys: str) -> None:
    for overrides in ({}, {"store": MemoryStore()}):
        with pytest.raises(SettingsError, match="TURVO_TOKEN_ENCRYPTION_KEYS: number . is no Fernet key"):
            TurvoAuth.from_env({**ENVIRON, "TURVO_TOKEN_ENCRYPTION_KEYS": keys}, **overrides)


def test_encryption_keys_are_not_left_out_by_a_store_of_ones_own() -> None:
    """Else the token would be in Redis in clear, and nobody told."""
    key = Fernet.generate_key().decode()
    environ = {**ENVIRON, "TURVO_TOKEN_ENCRYPTION_KEYS": key}
    client = redis.Redis(port=1)

    with pytest.raises(SettingsError, match="TURVO_TOKEN_ENCRYPTION_KEYS is set, but .* encryption_keys="):
        TurvoAuth.from_env(environ, store=RedisStore(client, "key"))
    for store in (RedisStore(client, "key", encryption_keys=[key]), MemoryStore(), None):
        TurvoAuth.from_env(environ, store=store)


@pytest.mark.parametrize("store", ["redis://127.0.0.1:1/0", redis.Redis(port=1), object()], ids=range(3))
def test_a_store_that_is_none_is_told_at_once(store: Any) -> None:
    assert complaint(store=store) == "store is no TokenStore; RedisStore.from_url(url, key) makes one"
    with pytest.raises(SettingsError, match="store is no TokenStore"):
        TurvoAuth.from_env(ENVIRON, store=store)


def test_a_username_that_is_no_utf_8_is_a_username() -> None:
    """``os.environ`` has such bytes as surrogates."""
    TurvoAuth.from_env({**ENVIRON, "TURVO_USERNAME": "j\udcf6rg", "REDIS_URL": "redis://127.0.0.1:1/0"})


def test_every_variable_reaches_the_login(turvo: FakeTurvo) -> None:
    environ = {**turvo.environ, "TURVO_CLIENT_ID": "another", "TURVO_CLIENT_SECRET": "one"}

    with pytest.raises(requests.RequestException):
        TurvoAuth.from_env(environ).token()

    [seen] = turvo.requests
    assert {"client_id": "another", "client_secret": "one"}.items() <= json.loads(seen.body).items()


@pytest.mark.parametrize("environ", [[("TURVO_API_KEY", "k")], "TURVO_API_KEY=k", {"k"}, 7])
@pytest.mark.parametrize("make", [TurvoAuth.from_env, TurvoSession.from_env])
def test_what_is_no_environment_is_a_settings_error(make: Any, environ: Any) -> None:
    with pytest.raises(SettingsError, match="environ must be a mapping"):
        make(environ)


@pytest.mark.parametrize(
    "secret", [settings.Settings(**GOOD), settings.read(Secret(ENVIRON), Secret({}))], ids=["both", "read"]
)
def test_settings_show_nothing_and_do_not_pickle(secret: object) -> None:
    assert "key-0001" not in f"{secret!r}{secret}"
    with pytest.raises(TypeError):
        pickle.dumps(secret)


# The key in Redis


def redis_environ(turvo: FakeTurvo, redis_url: str, **changed: str) -> dict[str, str]:
    return {**turvo.environ, "REDIS_URL": redis_url, **changed}


def test_two_users_and_two_base_urls_on_one_redis_never_meet(
    turvo: FakeTurvo, redis_url: str, redis_client: redis.Redis
) -> None:
    """The key is of the base URL, the client id and the user; not of the password, which may change."""
    base = settings.Settings(**GOOD)
    others = [
        settings.Settings(**{**GOOD, "username": "v"}),
        settings.Settings(**{**GOOD, "base_url": "https://my-sandbox-publicapi.turvo.com/v1"}),
        settings.Settings(**GOOD, client_id="another"),
    ]
    assert len({each.token_key for each in (base, *others)}) == 4
    assert settings.Settings(**{**GOOD, "password": "q", "api_key": "k"}).token_key == base.token_key

    with FakeTurvo(seed=1) as sandbox:
        first = TurvoAuth.from_env(redis_environ(turvo, redis_url))
        second = TurvoAuth.from_env(redis_environ(sandbox, redis_url))
        assert first.token() != second.token()
        assert (turvo.logins, sandbox.logins) == (1, 1)
    assert len(redis_client.keys("turvo:auth_token:{*}")) == 2


def test_a_token_of_an_existing_script_is_used_without_a_login(
    turvo: FakeTurvo, redis_url: str, redis_client: redis.Redis
) -> None:
    """As such scripts write it: the moment of expiry with the buffer taken off, the real life as the key's."""
    secret = TurvoAuth.from_env(turvo.environ).token().access_token
    expires_at = datetime.now(UTC) + timedelta(seconds=43199 - 300)
    value = json.dumps({"access_token": secret, "expires_at": expires_at.isoformat()})
    redis_client.set("turvo:auth_token", value, ex=43199)

    auth = TurvoAuth.from_env(redis_environ(turvo, redis_url, TURVO_TOKEN_KEY="turvo:auth_token"))
    answer = requests.get(f"{turvo.base_url}/shipments/list", auth=auth, timeout=10)

    assert answer.status_code == 200
    assert turvo.logins == 1
    assert auth.stats.adopted == 1


def test_an_existing_script_can_use_our_token(
    turvo: FakeTurvo, redis_url: str, redis_client: redis.Redis
) -> None:
    auth = TurvoAuth.from_env(redis_environ(turvo, redis_url, TURVO_TOKEN_KEY="turvo:auth_token"))
    token = auth.token()

    value = json.loads(redis_client.get("turvo:auth_token") or b"")
    expires_at = datetime.fromisoformat(value["expires_at"])

    assert value["access_token"] == token.access_token
    left = (expires_at - datetime.now(UTC)).total_seconds()
    assert 43199 - 300 - 30 < left <= 43199 - 300
    assert 43199 - 30 < redis_client.pttl("turvo:auth_token") / 1000 <= 43199
    assert FakeTurvo.password not in json.dumps(value)


def test_the_next_process_does_not_log_in(turvo: FakeTurvo, redis_url: str) -> None:
    """Two auths on one Redis are two processes as far as the token goes."""
    first, second = (TurvoAuth.from_env(redis_environ(turvo, redis_url)) for _ in range(2))

    assert first.token().access_token == second.token().access_token
    assert turvo.logins == 1
    assert second.status().origin == "store"


# Over a process's border


def test_from_env_alone_pickles_as_that_and_takes_no_secret_along(
    turvo: FakeTurvo, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in turvo.environ.items():
        monkeypatch.setenv(name, value)
    auth = TurvoAuth.from_env()
    token = auth.token()

    pickled = pickle.dumps(auth)
    other = pickle.loads(pickled)

    assert isinstance(other, TurvoAuth)
    assert other.base_url == auth.base_url
    assert other.token().access_token != token.access_token
    for secret in (turvo.api_key, turvo.username, turvo.password, token.access_token):
        assert secret.encode() not in pickled


@pytest.mark.parametrize(
    "make",
    [
        lambda: TurvoAuth(**GOOD),
        lambda: TurvoAuth.from_env(ENVIRON),
        lambda: TurvoAuth.from_env(**GOOD),
        lambda: Token("secret", 0.0, 1.0, 0.0),
        lambda: Grant("secret", 1.0, 0.0, 0.0),
        lambda: RedisStore.from_url("redis://:pw@127.0.0.1:1", "key"),
    ],
    ids=["arguments", "mapping", "overrides", "token", "grant", "store"],
)
def test_what_holds_a_secret_refuses_to_pickle(make: Any) -> None:
    with pytest.raises(TypeError, match="does not pickle|cannot be pickled"):
        pickle.dumps(make())


def test_a_pickle_read_where_the_variables_lack_is_a_settings_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    pickled = pickle.dumps(TurvoAuth.from_env())
    monkeypatch.delenv("TURVO_PASSWORD")

    with pytest.raises(SettingsError, match="TURVO_PASSWORD is not set"):
        pickle.loads(pickled)


def test_the_url_of_a_prepared_request_is_ours_however_the_base_was_spelled(turvo: FakeTurvo) -> None:
    upper = turvo.base_url.replace("http", "HTTP").removesuffix("/v1")
    auth = TurvoAuth.from_env({**turvo.environ, "TURVO_BASE_URL": upper})

    request = Request("GET", f"{turvo.base_url}/shipments/list", auth=auth).prepare()

    assert "Authorization" in request.headers
