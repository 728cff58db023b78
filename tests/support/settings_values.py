"""Settings that are good, and what is said of each that is not."""

from __future__ import annotations

from typing import Any

import redis

from turvo_session import MemoryStore

DEFAULT = "https://publicapi.turvo.com/v1"
ENVIRON = {
    "TURVO_API_KEY": "key-0001",
    "TURVO_USERNAME": "dispatcher@broker.example",
    "TURVO_PASSWORD": "correct horse",
}
GOOD: dict[str, Any] = {
    **{name[6:].lower(): value for name, value in ENVIRON.items()},
    "base_url": DEFAULT,
}
NO_FILE = "/nowhere/at-all"
BEFORE = "must not begin with a blank or a line end"
AFTER = "must not end with a blank or a line end"

_NO_URLS = [
    *("publicapi.turvo.com", "//publicapi.turvo.com", "https:///v1", "ftp://x/v1"),
    *("https://user:pass-word@publicapi.turvo.com/v1", "https://x/v1?key=pass-word"),
    *("https://x/v1#pass-word", "https://x\\y", "https://x@", "https://x y/v1"),
    *("https://*.x/v1", "https://x:99999", "https://x:port", "https://[::1"),
]
_PLAIN_HTTP = [
    "publicapi.turvo.com",
    "10.0.0.1",
    "[::]",
    "localhost.evil.test",
    "127.1",
]
_ENDPOINTS = [
    *(f"{DEFAULT}/oauth/token", "https://publicapi.turvo.com/OAuth/token/"),
    *("http://127.0.0.1:8080/v1/shipments/9", "https://gateway.example/orders/list"),
]
_TEXTS = ["base_url", "api_key", "username", "password", "client_id", "client_secret"]
_PAIR = "must be a pair of seconds, to connect and to read"
WRONG: list[tuple[str, list[Any], str]] = [
    ("base_url", _NO_URLS, "must be an https URL such as"),
    ("base_url", [f"http://{h}/v1" for h in _PLAIN_HTTP], "must start with https, or"),
    ("base_url", _ENDPOINTS, "must not be the URL of an endpoint, but the part"),
    ("api_key", ["k 1", "k\r\nX: y", "k\xe9", "k\0", "k" * 8193], "must be visible A"),
    ("expiry_buffer", [-1, float("nan"), 10**400, "300", True], "must be a number of"),
    ("token_timeout", [5, [1, 2], (1,), (0, 1), (1, None), (1, "1")], _PAIR),
    ("store", ["redis://h", redis.Redis(port=1), MemoryStore], "must be a TokenStore"),
    ("on_event", ["print", 5], "must be a callable"),
    ("verify", [None, 0, "", NO_FILE], "must be True, False, or the path (a string)"),
    ("cert", ["", NO_FILE, (NO_FILE, __file__), (__file__,), 5], "must be the path (a"),
    ("proxies", ["http://proxy", {"https": 1}, [1]], "must be a mapping such as"),
    *((name, ["", None], "is not set") for name in _TEXTS),
    *((name, [0, b"pass-word"], "must be a string") for name in _TEXTS),
    # Mistakes of `echo` and the clipboard, which Turvo would take for wrong passwords.
    *((name, [" pass-word"], BEFORE) for name in _TEXTS),
    *((name, ["pass-word\r\n", "pass-word\xa0"], AFTER) for name in _TEXTS),
    *((name, ["pass-word\udcff"], "must be text that UTF-8 can") for name in _TEXTS),
]
"""Arguments, wrong values of them, and how the complaint goes on."""
