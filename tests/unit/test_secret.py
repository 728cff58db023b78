"""A secret shows itself to nobody but the caller of ``reveal``."""

from __future__ import annotations

import pytest

from turvo_session.secret import Secret
from turvo_session.store import Change, Slot

SECRET = "3b_-a-secret"
SLOT = Slot(SECRET.encode(), 10.0)


def test_a_slot_with_its_values_swapped_shows_none_in_its_frame() -> None:
    """Error trackers show the variables of every frame that an exception passes."""
    with pytest.raises(TypeError, match="must be a number of seconds") as caught:
        Slot(10.0, SECRET)  # type: ignore[arg-type]
    frame = caught.traceback[-1].frame
    assert frame.code.name == "__init__"
    assert not {"value", "left"} & set(frame.f_locals)


def test_a_slot_shows_how_much_it_holds_and_for_how_long() -> None:
    assert repr(SLOT) == "<Slot of 12 bytes, 10.000 s left>"


def test_two_secrets_are_equal_if_their_values_are() -> None:
    twin = Slot(SECRET.encode(), 10.0)
    assert Secret(SECRET).reveal() == SECRET
    assert Secret(SECRET) == Secret(SECRET) != Secret("another")
    assert (Secret(SECRET) == SECRET) is (twin == SECRET) is (Change() == 1) is False
    assert len({Secret(SECRET), Secret(SECRET)}) == 1
    assert twin not in (Slot(b"another", 10.0), Slot(SECRET.encode(), 9.0))
    assert Change() not in (Change(token=None), Change(wake=True))
    assert {SLOT, Change(token=SLOT)} == {twin, Change(token=twin)}
