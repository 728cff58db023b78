"""Text from a server before it reaches a message, a log or a terminal."""

from __future__ import annotations

import json

import pytest

from turvo_session.text import printable, quoted


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"Gr\xc3\xbc\xc3\x9fe \xff", '"Grüße \ufffd"'),
        ("a\r\n2026-01-01 ERROR forged", '"a 2026-01-01 ERROR forged"'),
        ("\x1b[31mred\x07\x9b0m", '"[31mred 0m"'),
        ("left\u202eright\u2028\x00\ud800", '"left right"'),
        ('say "no"', "\"say 'no'\""),
        ({"a": [None]}, "\"{'a': [None]}\""),
        (json.loads("[" * 900 + "]" * 900), None),
        (10**5000, '"<int>"'),
    ],
    ids=range(8),
)
def test_a_text_is_quoted_on_one_line(value: object, shown: str | None) -> None:
    assert quoted(value).isprintable() and len(quoted(value)) <= 200
    assert shown is None or quoted(value) == shown


@pytest.mark.parametrize("value", ["x" * 201, "ab " * 2_000_000, b"\xff" * 5_000_000])
def test_a_long_text_is_cut_to_200_characters(value: str | bytes) -> None:
    assert len(quoted(value)) == len(printable(value)) == 200
    assert printable(value).endswith("...")
    assert "..." not in quoted("x" * 198)
