"""eventlet: green threads of a patched process share an auth."""

from __future__ import annotations

import eventlet

eventlet.monkey_patch()

import sys

from _jobs import JOBS, call_turvo, share_logins

PACKAGE = "eventlet"
REQUIRES = ["eventlet"]
HOW = "green threads wait for one login, and heal a 401"
SEPARATE = True

if __name__ == "__main__":
    pool = eventlet.GreenPool(JOBS)
    sys.exit(share_logins(lambda: list(pool.imap(call_turvo, range(JOBS)))))
