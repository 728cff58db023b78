"""A pre-fork server, as Celery, gunicorn and uWSGI are: the auth is made before the fork, and works after it.

The children share one token with and without REDIS_URL: the master has warmed the auth up. In Celery, ``child``
is a task, and its session is made in a handler of the signal ``worker_process_init``.
"""

from __future__ import annotations

import os
import sys

from turvo_session import TurvoAuth, TurvoSession

CHILDREN = 3


def child(auth: TurvoAuth, ids: list[int]) -> None:
    with TurvoSession(auth) as session:  # a session holds connections, which processes must not share
        for shipment_id in ids:
            details = session.get(f"/shipments/{shipment_id}").json()["details"]
            sys.stdout.write(f"{shipment_id} {details['status']['code']['value']}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    auth = TurvoAuth.from_env()
    with TurvoSession(auth) as session:
        todo = [row["id"] for row in session.records("/shipments/list", "shipments", {"status[eq]": "2105"})]
    children = []
    for number in range(CHILDREN):
        if (pid := os.fork()) == 0:
            child(auth, todo[number::CHILDREN])
            os._exit(0)
        children.append(pid)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children))
