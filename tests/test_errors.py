"""What comes out of a request can be caught, told apart, and carried to another process."""

from __future__ import annotations

import pickle

import pytest
import requests

import turvo_session
from turvo_session import errors
from turvo_session.errors import (
    CredentialsRejected,
    InvalidTokenResponse,
    SettingsError,
    TokenEndpointUnavailable,
    TurvoAuthError,
    TurvoResponseError,
)

ALL = (
    TurvoAuthError,
    SettingsError,
    CredentialsRejected,
    TokenEndpointUnavailable,
    InvalidTokenResponse,
    TurvoResponseError,
)


@pytest.mark.parametrize("kind", ALL)
def test_a_script_that_catches_what_requests_raises_catches_each_of_them(
    kind: type[requests.RequestException],
) -> None:
    assert issubclass(kind, requests.RequestException)
    assert getattr(turvo_session, kind.__name__) is kind


def test_the_tree_is_the_one_that_is_drawn() -> None:
    """Four reasons for having no token; a wrong setting is also a ``ValueError``; no answer of an API call is one."""
    reasons = (SettingsError, CredentialsRejected, TokenEndpointUnavailable, InvalidTokenResponse)

    assert all(kind.__mro__[1] is TurvoAuthError for kind in reasons)
    assert [kind for kind in ALL if issubclass(kind, ValueError)] == [SettingsError]
    assert not issubclass(TurvoResponseError, TurvoAuthError)
    assert all(f" {kind.__name__} " in str(errors.__doc__) for kind in ALL)


@pytest.mark.parametrize(
    ("error", "carries"),
    [
        (TokenEndpointUnavailable("closed"), {"retry_after": None}),
        (TokenEndpointUnavailable("closed", retry_after=7.5), {"retry_after": 7.5}),
        (TurvoResponseError("no"), {"code": "", "message": ""}),
        (TurvoResponseError("no", code="400", message="bad"), {"code": "400", "message": "bad"}),
        (CredentialsRejected("no"), {}),
    ],
    ids=repr,
)
def test_an_error_carries_data_also_into_another_process(
    error: requests.RequestException, carries: dict[str, object]
) -> None:
    for each in (error, pickle.loads(pickle.dumps(error))):
        assert {name: getattr(each, name) for name in carries} == carries
        assert str(each) == str(error)
        assert type(each) is type(error)
