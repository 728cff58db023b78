"""A ``RedisStore`` on fakeredis, as in the tests of a script."""

from __future__ import annotations

import sys

import fakeredis
from _sharing import is_shared

PACKAGE = "fakeredis"
REQUIRES = ["fakeredis[lua]"]
HOW = "one login for all, waiting and waking; needs its extra `lua`"


def main() -> int:
    """Return 0 if clients of one server share a token, and decoding ones too."""
    server, other = fakeredis.FakeServer(), fakeredis.FakeServer()
    return is_shared(
        lambda: fakeredis.FakeRedis(server=server),
        lambda: fakeredis.FakeRedis(server=other, decode_responses=True),
    )


if __name__ == "__main__":
    sys.exit(main())
