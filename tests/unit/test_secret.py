"""A secret shows itself to nobody but the caller of ``reveal``."""

from __future__ import annotations

import copy
import gc
import pickle

import pytest

from turvo_session.secret import Hidden, Secret
from turvo_session.store import Change, MemoryStore, Slot
from turvo_session.tokens import Token

SECRET = "3b_-a-secret"
SLOT = Slot(SECRET.encode(), 10.0)
HOLDERS = [Secret(SECRET), Token(SECRET, 0.0, 10.0, 1.0), SLOT, Change(token=SLOT)]


def walked(thing: object, depth: int = 6) -> str:
    """Return all that an error tracker finds in ``thing``: attributes and items."""
    found = [repr(thing), str(thing)]
    if depth and not callable(thing):
        names = [*getattr(thing, "__slots__", ()), *getattr(thing, "__dict__", ())]
        parts = [getattr(thing, name) for name in names]
        if isinstance(thing, tuple | list | set | dict):
            parts += [*thing, *getattr(thing, "values", list)()]
        found += [walked(part, depth - 1) for part in parts]
    return " ".join(found)


@pytest.mark.parametrize("holder", HOLDERS, ids=repr)
def test_an_object_that_holds_a_secret_shows_it_to_no_walker(holder: Hidden) -> None:
    assert SECRET not in walked(holder) + format(holder)
    assert not any(isinstance(one, str | bytes) for one in gc.get_referents(holder))
    assert copy.copy(holder) is copy.deepcopy(holder) is holder
    with pytest.raises(TypeError, match="cannot be pickled") as caught:
        pickle.dumps(holder)
    assert SECRET not in str(caught.value)


def test_a_store_in_memory_shows_no_token() -> None:
    store = MemoryStore()
    store.swap(store.read(), Change(token=SLOT))
    assert SECRET not in walked(store) + walked(store.read())


def test_a_slot_with_its_values_swapped_shows_none_in_its_frame() -> None:
    """Error trackers show the variables of every frame that an exception passes."""
    with pytest.raises(TypeError, match="must be a number of seconds") as caught:
        Slot(10.0, SECRET)  # type: ignore[arg-type]
    frame = caught.traceback[-1].frame
    assert frame.code.name == "__init__"
    assert not {"value", "left"} & set(frame.f_locals)


def test_two_secrets_are_equal_if_their_values_are() -> None:
    assert Secret(SECRET).reveal() == SECRET
    assert Secret(SECRET) == Secret(SECRET) != Secret("another")
    assert (Secret(SECRET) == SECRET) is (SLOT == SECRET) is (HOLDERS[3] == 1) is False
    assert len({Secret(SECRET), Secret(SECRET)}) == 1
    assert SLOT != Slot(b"another", 10.0) and SLOT != Slot(SECRET.encode(), 9.0)
    assert Change() != Change(token=None) and Change() != Change(wake=True)
    assert {SLOT, Change(token=SLOT)} == {
        Slot(SECRET.encode(), 10.0),
        Change(token=SLOT),
    }
