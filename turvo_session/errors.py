"""What can go wrong, named by whose fault it is.

::

    requests.RequestException
    ├── TurvoAuthError                 no token could be had
    │   ├── SettingsError              yours: a setting is missing or wrong (also a ValueError)
    │   ├── CredentialsRejected        yours: Turvo does not take these credentials
    │   ├── TokenEndpointUnavailable   Turvo's or the network's: try again later
    │   └── InvalidTokenResponse       Turvo's, or a wrong base URL: the answer is no token
    └── TurvoResponseError             Turvo answered a call with a Status other than SUCCESS

All of them come out of ``session.get(...)`` and the like, therefore all of them are
``requests.RequestException``: a script that catches that today catches these too.
No text, attribute or context of theirs holds a secret or a part of a server's answer,
Turvo's own ``errorMessage`` in ``TurvoResponseError`` excepted.
"""

from __future__ import annotations

import requests


class TurvoAuthError(requests.RequestException):
    """No token could be had. Base class of the four reasons."""


class SettingsError(TurvoAuthError, ValueError):
    """One or more settings are missing or wrong. The text names all of them, never a value."""


class CredentialsRejected(TurvoAuthError):
    """Turvo refused the credentials (RFC 6749 section 5.2) or the ``x-api-key``.

    The same credentials are not tried again for 15 minutes by any process that shares the
    store, since Turvo locks an account after ten wrong passwords. Changed ones are tried at once.
    """


class TokenEndpointUnavailable(TurvoAuthError):
    """The token endpoint did not answer, or answered 408, 429 or 5xx, to every try.

    ``retry_after``: seconds until somebody asks it again; ``None`` if that is not known.
    """

    def __init__(self, *args: object, retry_after: float | None = None) -> None:
        super().__init__(*args)
        self.retry_after = retry_after


class InvalidTokenResponse(TurvoAuthError):
    """The token endpoint answered something that holds no usable token."""


class TurvoResponseError(requests.RequestException):
    """Turvo answered a call with a ``Status`` other than ``SUCCESS``, or with no Turvo answer at all.

    ``code``: Turvo's ``errorCode`` as text, or the HTTP status; ``message``: Turvo's ``errorMessage``.
    """

    def __init__(self, *args: object, code: str = "", message: str = "") -> None:
        super().__init__(*args)
        self.code = code
        self.message = message
