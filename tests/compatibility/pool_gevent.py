"""gevent: greenlets of a patched process share an auth."""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sys

from _jobs import JOBS, call_turvo, share_logins
from gevent.pool import Pool

PACKAGE = "gevent"
REQUIRES = ["gevent"]
HOW = "greenlets wait for one login, and heal a 401"
SEPARATE = True

if __name__ == "__main__":
    sys.exit(share_logins(lambda: Pool(JOBS).map(call_turvo, range(JOBS))))
