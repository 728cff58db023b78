"""A secret shows nothing and goes nowhere; a value that holds one is set once, and equal by its fields."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from turvo_session import Change, Slot, Snapshot, Token
from turvo_session.grant import Grant
from turvo_session.secret import Secret
from turvo_session.store import KEEP

TEXT = "the secret"
SLOT = Slot(b"value", 3.0)


def test_a_secret_reveals_its_value_and_shows_nothing_of_it() -> None:
    secret = Secret(TEXT)

    assert secret.reveal() == TEXT
    assert repr(secret) == str(secret) == "<Secret>"
    assert not hasattr(secret, "__dict__")


def test_two_secrets_are_equal_if_their_values_are() -> None:
    assert Secret(TEXT) == Secret(TEXT) != Secret("another")
    assert Secret(TEXT) != TEXT
    assert len({Secret(TEXT), Secret(TEXT), Secret("another")}) == 2


def test_a_secret_does_not_pickle_and_a_copy_of_it_is_the_secret_itself() -> None:
    secret = Secret(TEXT)

    assert copy.copy(secret) is copy.deepcopy(secret) is secret
    with pytest.raises(TypeError, match="a Secret holds a secret and cannot be pickled"):
        pickle.dumps(secret)


@pytest.mark.parametrize(
    ("make", "field", "other"),
    [
        (lambda: Slot(b"value", 3.0), "value", Slot(b"another", 3.0)),
        (lambda: Snapshot(1.0, SLOT, None, None, 7), "version", Snapshot(1.0, SLOT, None, None, 8)),
        (lambda: Change(SLOT), "lease", Change(SLOT, None)),
        (lambda: Token(TEXT, 0.0, 2.0, 1.0), "access_token", Token("another", 0.0, 2.0, 1.0)),
        (lambda: Grant(TEXT, 9.0, 0.0, 1.0), "access_token", Grant("another", 9.0, 0.0, 1.0)),
    ],
    ids=["slot", "snapshot", "change", "token", "grant"],
)
def test_a_value_is_set_once_and_equal_by_its_fields(
    make: Callable[[], Any], field: str, other: object
) -> None:
    value = make()

    assert value == make() != other
    assert value != tuple(getattr(value, name) for name in value.__match_args__)
    assert hash(value) == hash(make()) != hash(other)
    for name in (field, "unheard_of"):
        with pytest.raises(AttributeError, match=f"{name} of a {type(value).__name__} cannot be set"):
            setattr(value, name, None)


def test_what_a_store_holds_shows_no_value() -> None:
    shown = "<Slot of 5 bytes, 3.000 s left>"

    assert repr(SLOT) == shown
    assert (
        repr(Snapshot(at=1.0, token=SLOT, lease=None, failure=None, version=7))
        == f"Snapshot(at=1.0, token={shown}, lease=None, failure=None, version=7)"
    )
    assert (
        repr(Change(token=SLOT, lease=None, wake=True))
        == f"Change(token={shown}, lease=None, failure={KEEP!r}, wake=True)"
    )


@pytest.mark.parametrize("value", [SLOT, Snapshot(1.0, SLOT, None, SLOT, 7), Change(SLOT, None, SLOT, True)])
def test_a_store_may_keep_pickles_of_what_it_is_given(value: object) -> None:
    assert pickle.loads(pickle.dumps(value)) == copy.deepcopy(value) == value
