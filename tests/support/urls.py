"""URLs of one origin and of others, among them those that parsers read differently."""

from __future__ import annotations

BASE = "https://publicapi.turvo.com/v1"
HOST = "publicapi.turvo.com"
IPV6 = "http://[::1]:8080/v1"
PUNYCODE = "https://xn--bcher-kva.example/v1"

SAME = [
    *[(BASE, f"https://{HOST}{rest}") for rest in ("", "?x=1", ":443/v1", "/v1?x#y")],
    (BASE, f"https://{HOST}/other/https://evil.test/"),
    (BASE, "HTTPS://PublicAPI.Turvo.COM/v1"),
    (f"https://{HOST}:443/v1", f"https://{HOST}/v1"),
    ("http://127.0.0.1/v1", "http://127.0.0.1:80/v1"),
    (IPV6, "http://[::1]:8080/x"),
    (PUNYCODE, "https://xn--bcher-kva.example/x"),
]
"""A base URL, and a URL of the same origin."""

_AFTER_HOST = [
    *(":80/v1", ":8443/v1", ":99999/v1", ":4x3/v1", ".evil.test/v1", "munity/v1"),
    *("./v1", "@evil.test/v1", ":443@evil.test/v1", "\\.evil.test/v1", "\\/v1"),
    *("%2F@evil.test/v1", "%00.evil.test/v1", "\t/v1", "\n/v1"),
]
_BEFORE_HOST = [
    *("http://", "https://evil", "https://my-sandbox-", "https://user@", "ftp://"),
    *("https://user:pass@", "https://evil.test/https://", "https://evil.test#@"),
    *("https://evil.test\\@", " https://", "https://[", "https:", "//", "https://."),
]
_WHOLE = [
    *("https://turvo.com/v1", "https://publicapi%2Eturvo.com/v1", "/v1", ""),
    *("https://[::1/v1", "https:///v1", "https://:443/v1", f"https://[{HOST}]/v1"),
    "https://publicapi\N{IDEOGRAPHIC FULL STOP}turvo.com/v1",
    "https://publicapi.turv\N{CYRILLIC SMALL LETTER O}.com/v1",
]
_IPV6_HOSTS = ["[::1]:8081", "[::2]:8080", "[0:0:0:0:0:0:0:1]:8080"]

OTHER = [
    *[(BASE, f"https://{HOST}{after}") for after in _AFTER_HOST],
    *[(BASE, f"{before}{HOST}/v1") for before in _BEFORE_HOST],
    *[(BASE, url) for url in _WHOLE],
    *[(IPV6, f"http://{host}/v1") for host in _IPV6_HOSTS],
    (PUNYCODE, "https://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example/v1"),
    *[("", ""), ("nonsense", "nonsense")],
]
"""A base URL, and a URL of another origin, or of none that is beyond doubt."""

PIECES = (
    *("https", "http", "HTTPS", ":", "//", "/", "\\", "@", "#", "?", "%2e", "%00"),
    *("\t", "\n", " ", "..", ".", "publicapi.turvo.com", "evil.test", "PUBLICAPI."),
    *(":443", ":80", "[::1]", "[", "]", "user:pw", ";", "\xe4"),
)
"""What random URLs are made of."""
