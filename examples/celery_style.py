"""A server that forks its workers, as Celery, gunicorn and uWSGI do.

The auth is made before the fork, and the token it holds is used by all workers, with
and without REDIS_URL. In Celery, ``print_statuses`` is a task, and its session is made
in a handler of the signal ``worker_process_init``.
"""

from __future__ import annotations

import os
import sys

from turvo_session import TurvoAuth, TurvoSession

WORKERS = 3


def print_statuses(auth: TurvoAuth, ids: list[int]) -> None:
    """Print the status of each shipment, over connections of this process alone."""
    with TurvoSession(auth) as session:
        for shipment_id in ids:
            status = session.details(f"/shipments/{shipment_id}")["status"]
            line = f"{shipment_id} {status['code']['value']!a}\n"
            # One write for a line, so that the lines of two processes never mix.
            os.write(sys.stdout.fileno(), line.encode())


if __name__ == "__main__":
    shared_auth = TurvoAuth.from_env()
    filters = {"status[eq]": "2105"}
    with TurvoSession(shared_auth) as first_session:
        rows = first_session.records("/shipments/list", "shipments", filters)
        todo = [row["id"] for row in rows]
    workers = []
    for number in range(WORKERS):
        if (pid := os.fork()) == 0:
            print_statuses(shared_auth, todo[number::WORKERS])
            os._exit(0)
        workers.append(pid)
    statuses = [os.waitpid(pid, 0)[1] for pid in workers]
    codes = [os.waitstatus_to_exitcode(status) for status in statuses]
    sys.exit(max(codes))
