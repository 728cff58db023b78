"""Threads that share one session: read all shipments en route, eight at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from turvo_session import TurvoSession


def print_arrivals(session: TurvoSession, pool: ThreadPoolExecutor) -> None:
    """Print the ETA of each shipment at its last stop."""

    def read_details(row: dict[str, Any]) -> dict[str, Any]:
        """Return what a list does not tell: stops, drivers, times."""
        return session.details(f"/shipments/{row['id']}")

    filters = {"status[eq]": "2105"}
    rows = session.records("/shipments/list", "shipments", filters)
    for shipment in pool.map(read_details, rows):
        last_stop = shipment["globalRoute"][-1]
        # `!a` shows control characters as text.
        print(f"{shipment['id']} {last_stop['etaToStop']['etaValue']!a}")


if __name__ == "__main__":
    with TurvoSession.from_env() as shared, ThreadPoolExecutor(8) as threads:
        print_arrivals(shared, threads)
