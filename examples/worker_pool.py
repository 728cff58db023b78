"""A pool of processes with one login: they share the token through REDIS_URL."""

from __future__ import annotations

import multiprocessing

from turvo_session import TurvoSession

own_session: TurvoSession


def open_session() -> None:
    """Give a worker its own session: processes must not share its connections."""
    global own_session
    own_session = TurvoSession.from_env()


def read_cities(shipment_id: int) -> tuple[int, list[str]]:
    """Return a shipment and the cities at which it stops."""
    shipment = own_session.details(f"/shipments/{shipment_id}")
    stops = shipment["globalRoute"]
    return shipment_id, [stop["address"]["city"] for stop in stops]


if __name__ == "__main__":
    filters = {"status[eq]": "2105"}
    with TurvoSession.from_env() as session:
        rows = session.records("/shipments/list", "shipments", filters)
        ids = [row["id"] for row in rows]
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(2, initializer=open_session) as pool:
        for shipment_id, cities in pool.imap_unordered(read_cities, ids, chunksize=4):
            # `!a` shows control characters as text.
            print(f"{shipment_id} {cities!a}")
