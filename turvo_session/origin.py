"""Whose URL is this? Token and key go to one origin only: scheme, host and port.

Origins are compared as in RFC 6454 section 4. A URL that two parsers could read
differently has no origin, so it gets nothing.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from requests.utils import get_environ_proxies, select_proxy

from .text import printable

_DEFAULT_PORTS = {"https": 443, "http": 80}

# User info, backslashes, blanks and escapes are what URL parsers disagree about. A base
# URL has none of them, so a URL that has one cannot be meant for it.
_plain_origin = re.compile(
    r"(https?://[A-Za-z0-9.\-_:\[\]]+)(?:[/?#]|\Z)", re.IGNORECASE
).match


def origin(url: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port of ``url``; ``None`` if it is not a plain URL."""
    if not _plain_origin(url):
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host:
        return None
    if port is None:
        port = _DEFAULT_PORTS[parts.scheme]
    return parts.scheme, host, port


def same_origin(url: str, base_url: str) -> bool:
    """Return whether both URLs have an origin, and the same one."""
    base_origin = origin(base_url)
    return base_origin is not None and origin(url) == base_origin


def looks_alike(url: str, base_url: str) -> bool:
    """Return whether ``url`` is Turvo's, or of this machine if the base URL is."""
    parts, base_parts = origin(url), origin(base_url)
    if parts is None or base_parts is None:
        return False
    if is_loopback(parts[1]) and is_loopback(base_parts[1]):
        return True
    return parts[1].endswith(".turvo.com")


def shown_origin(url: str) -> str:
    """Return the origin of ``url`` as it is written there, fit for a log."""
    plain = _plain_origin(url)
    return printable(plain[1]) if plain else "a URL that is not plain http or https"


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine's own."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def goes_to_proxy_in_clear(url: str) -> bool:
    """Return whether the environment sends ``url`` to a proxy without encryption.

    Requests to an https URL pass a proxy in a tunnel, which the proxy cannot read.
    """
    if not url.startswith("http://"):
        return False
    return select_proxy(url, get_environ_proxies(url)) is not None
