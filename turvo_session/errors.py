"""The errors that reach a script, and whose mistake each of them is.

::

    requests.RequestException
    ├── TurvoAuthError                 no token could be had
    │   ├── SettingsError              yours: a setting is missing or wrong
    │   ├── CredentialsRejected        yours: Turvo does not accept these credentials
    │   ├── TokenEndpointUnavailable   Turvo's or the network's: try again later
    │   └── InvalidTokenResponse       the base URL is wrong, or something is in between
    └── TurvoResponseError             the answer to a call reports an error

All of them can come out of ``session.get(...)`` and its like. All of them are a
``requests.RequestException``, so a script that catches that today catches these, too.
``SettingsError`` is a ``ValueError`` as well.

No text, attribute, cause or context of theirs holds a secret. They repeat no part of a
server's answer, with one exception: ``TurvoResponseError`` quotes what Turvo says of an
error, without control characters and cut to 200 characters.
"""

from __future__ import annotations

import requests


class TurvoAuthError(requests.RequestException):
    """No token could be had. The base class of the four reasons."""


class SettingsError(TurvoAuthError, ValueError):
    """One or more settings are missing or wrong.

    The text names all of them and never repeats a value.
    """


class CredentialsRejected(TurvoAuthError):
    """Turvo refused the credentials (RFC 6749 section 5.2) or the ``x-api-key``.

    Turvo locks an account after ten wrong passwords. So no process that shares the
    store tries the same credentials again for a while: 15 minutes after a rejection,
    30 minutes after the next one, doubling up to 24 hours. Changed credentials are
    tried at once.
    """


class TokenEndpointUnavailable(TurvoAuthError):
    """The token endpoint could not be reached, or did not answer as it should.

    ``retry_after``: the seconds until the next login is allowed, or ``None`` if that
    is not known.
    """

    def __init__(self, *args: object, retry_after: float | None = None) -> None:
        super().__init__(*args)
        self.retry_after = retry_after


class InvalidTokenResponse(TurvoAuthError):
    """The answer to a login is neither a usable token nor one of Turvo's errors.

    Most often TURVO_BASE_URL is wrong, or a proxy or a firewall answered.
    """


class TurvoResponseError(requests.RequestException):
    """An answer has a ``Status`` other than ``SUCCESS``, or is not a Turvo answer.

    ``code``: Turvo's ``errorCode`` as text, or the HTTP status if Turvo gives none.
    ``message``: Turvo's ``errorMessage``. Both are without control characters, without
    the token and key of the request, and at most 200 characters long.
    """

    def __init__(self, *args: object, code: str = "", message: str = "") -> None:
        super().__init__(*args)
        self.code = code
        self.message = message
