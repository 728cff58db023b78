"""Whose URL is this? Token and key go to one origin only (RFC 6454 section 4: scheme, host, port)."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urljoin, urlsplit

from requests import Response
from requests.utils import requote_uri

_PORTS = {"https": 443, "http": 80}
# User info, backslashes, blanks and escapes are what URL parsers disagree about. None of them is
# in an authority that we would want to send a token to.
_PLAIN = re.compile(r"https?://[A-Za-z0-9.\-_:\[\]]+(?:[/?#]|\Z)", re.IGNORECASE).match


def origin(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of ``url``; ``None`` if it is not plainly an http or https URL."""
    if not _PLAIN(url):
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    return (parts.scheme, host, _PORTS[parts.scheme] if port is None else port) if host else None


def same_origin(url: str, base_url: str) -> bool:
    """Whether ``url`` has the origin of ``base_url``. What is in doubt has not."""
    ours = origin(base_url)
    return ours is not None and origin(url) == ours


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def redirect_target(response: Response) -> str | None:
    """Where ``requests`` goes next from ``response``, if anywhere; ``""`` if that is not to be told.

    The same steps as in its ``SessionRedirectMixin``, which offers them only to a session.
    """
    if not response.is_redirect:
        return None
    try:
        location = response.headers["location"].encode("latin1").decode("utf-8")
        if location.startswith("//"):
            location = f"{urlsplit(response.url).scheme}:{location}"
        parts = urlsplit(location)
        location = requote_uri(parts.geturl())
        return location if parts.netloc else urljoin(response.url, location)
    except ValueError:
        return ""
