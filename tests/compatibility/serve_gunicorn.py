"""gunicorn with ``--preload``: the auth has a token before the workers fork."""

from __future__ import annotations

import sys

from _serving import serves

PACKAGE = "gunicorn"
REQUIRES = ["gunicorn"]
HOW = "`--preload`: two workers use the token from before the fork, and heal a 401"

OPTIONS = ["--preload", "--workers=2", "--bind=ADDRESS", "_application:application"]


def main() -> int:
    """Return 0 if two workers share the logins."""
    return serves([sys.executable, "-m", "gunicorn", *OPTIONS])


if __name__ == "__main__":
    sys.exit(main())
