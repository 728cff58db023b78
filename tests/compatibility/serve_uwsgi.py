"""uWSGI without ``--enable-threads``: no thread of Python runs beside a request."""

from __future__ import annotations

import sys
from pathlib import Path

from _serving import serves

PACKAGE = "uWSGI"
REQUIRES = ["pyuwsgi"]  # uwsgi itself, as a wheel
HOW = "without `--enable-threads`: two workers use the token from before the fork"

OPTIONS = ["--master", "--processes=2", "--http-socket=ADDRESS", "--die-on-term"]


def main() -> int:
    """Return 0 if two workers share the logins."""
    folder = Path(sys.executable).parent
    home = [f"--virtualenv={folder.parent}", "--wsgi-file=_application.py"]
    return serves([str(folder / "uwsgi"), *OPTIONS, *home])


if __name__ == "__main__":
    sys.exit(main())
