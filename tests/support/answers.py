"""Answers of a token endpoint: good, bad, broken, and mutated at random."""

from __future__ import annotations

import json
import math

from hypothesis import strategies as st

from tests.support.wire import SECRETS, head, token_answer
from turvo_session.login import UNKNOWN_LIFE
from turvo_session.tokens import LONGEST_LIFE

ECHO = {"error_description": f"wrong: {' '.join(SECRETS)} token-1"}
"""What a server may repeat, and no text here may."""
_GATEWAY = {"message": "Forbidden"}
_FAILED = {"Status": "ERROR", "details": {"errorMessage": "wrong: password"}}

LIVES = [
    *[({"expires_in": value}, UNKNOWN_LIFE) for value in (..., None)],
    *[({"expires_in": value}, 3600.0) for value in (3600, "3600", "3600.0")],
    ({"expires_in": 59.5}, 59.5),
    ({"expires_in": 0}, 0.0),
    ({"expires_in": 1e308}, LONGEST_LIFE),
    *[({"token_type": value}, 43198.0) for value in (..., None, "bearer")],
    ({"token": "!" + "~" * 8191}, 43198.0),
    ({"scope": "something else", "linkedTenants": [{"token": "other"}]}, 43198.0),
]
"""Changes of ``token_answer`` that do no harm, each with the token's life."""

NOT_TOKENS = [
    *[{"access_token": value} for value in (..., None, 5, True, ["x"], {"x": "y"})],
    *[{"token": value} for value in ("", " ", "a b", " a", "a\n", "a\r\nX: 1", "a\0")],
    *[{"token": value} for value in ("a\x7f", "\xf6", "\ud800", "x" * 8193)],
    *[{"token_type": value} for value in ("mac", 5, ["Bearer"], "wrong:type")],
    *[{"expires_in": value} for value in (-1, "-1", "soon", "", True, [1], {})],
    *[{"expires_in": value} for value in (math.nan, "nan", math.inf, 10**400)],
]
"""Changes of ``token_answer`` that make it unusable."""

NOT_JSON_OBJECTS = [
    *[b"", b"<html>Sign in</html>", b"[]", b"null", b'"token-1"', b"17"],
    *[token_answer()[:-1], b"[" * 100_000, b"\xff\xfe\xff", b"\0" * 50],
    b'{"access_token":' * 50_000,
    b'{"access_token": "token-1", "expires_in": 1' + b"0" * 5000 + b"}",
]

FOREIGN_ANSWERS = [
    *[(200, token_answer(**changed)) for changed in NOT_TOKENS],
    *[(200, body) for body in NOT_JSON_OBJECTS],
    *[(200, body) for body in ({}, {"Status": "SUCCESS"}, {"error": None})],
    *[(status, b"<html>") for status in (400, 401, 403, 422, 423)],
    *[(status, token_answer()) for status in (201, 204, 302, 304, 404, 405, 410)],
]
"""Statuses and bodies that do not come from Turvo's token endpoint."""

REJECTIONS = [
    (400, {"error": "invalid_grant"} | ECHO, "400 invalid_grant"),
    (401, {"error": "invalid_client"}, "401 invalid_client"),
    (400, {"error": "wrong: password"}, "400"),
    (400, {"error": ["invalid_grant"]}, "400"),
    (401, ECHO | {"access_token": "token-1"}, "401"),
    (401, _GATEWAY, "401"),
    (403, _GATEWAY, "403, as an API gateway does if TURVO_API_KEY is wrong"),
    (403, _GATEWAY | {"error": "access_denied"}, "403 access_denied"),
    (403, {}, "403"),
    (422, _FAILED, "422"),
    (423, b" { } ", "423"),
    (200, _FAILED, "200 with an error in it"),
    (200, {"error": "wrong: password"}, "200 with an error in it"),
    (200, {"error": "invalid_grant"}, "200 invalid_grant"),
]
"""Statuses and bodies that refuse credentials, and what a text says of them."""

NO_WHOLE_ANSWERS = [
    *[b"", b"\r\n", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc\r\n\r\n"],
    head(200, "Content-Length: 500") + token_answer(),
    head(200, "Transfer-Encoding: chunked") + b"zz\r\n",
    head(200, "Content-Encoding: gzip", "Content-Length: 4") + b"junk",
    head(200, *["X: y"] * 300),
    head(200, "X: " + "y" * 100_000),
]
"""What goes over the wire of an answer that does not end well."""

BEGINNINGS = [
    b"HTTP/1.1 200 OK\r\nX: ",
    head(),
    head(200, "Transfer-Encoding: chunked") + b"ffff\r\n",
]
"""Beginnings of answers that go on slowly forever."""

_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
_names = st.sampled_from(["access_token", "token_type", "expires_in", "error"])


@st.composite
def mutated_answers(draw: st.DrawFn) -> bytes:
    """Return a token response with some fields or bytes changed."""
    fields = {**json.loads(token_answer()), "refresh_token": "refresh-1"}
    for name in draw(st.lists(_names, max_size=2)):
        fields[name] = draw(_anything)
    text = json.dumps(fields).encode()
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.integers(0, 6))
        text = text[:start] + draw(st.binary(max_size=4)) + text[end:]
    return text
