"""A pool of processes, one session each, one login for all: they share the token through REDIS_URL."""

from __future__ import annotations

import multiprocessing
from typing import Any

from turvo_session import TurvoSession

session: TurvoSession


def start() -> None:
    """Once in every worker: a session holds connections, which processes must not share."""
    global session
    session = TurvoSession.from_env()


def stops(shipment_id: int) -> tuple[int, list[str]]:
    response = session.get(f"/shipments/{shipment_id}")
    response.raise_for_status()
    route: list[dict[str, Any]] = response.json()["details"]["globalRoute"]
    return shipment_id, [stop["address"]["city"] for stop in route]


if __name__ == "__main__":
    with TurvoSession.from_env() as own:
        ids = [row["id"] for row in own.records("/shipments/list", "shipments", {"status[eq]": "2105"})]
    with multiprocessing.get_context("spawn").Pool(2, initializer=start) as pool:
        for shipment_id, cities in pool.imap_unordered(stops, ids, chunksize=4):
            print(shipment_id, " - ".join(cities))
