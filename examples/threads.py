"""Threads over one session and one auth: the detail pages of all shipments that are en route, eight at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from turvo_session import TurvoSession


def main() -> None:
    with TurvoSession.from_env() as session, ThreadPoolExecutor(max_workers=8) as pool:

        def detail(row: dict[str, Any]) -> dict[str, Any]:
            response = session.get(f"/shipments/{row['id']}")
            response.raise_for_status()
            shipment: dict[str, Any] = response.json()["details"]
            return shipment

        rows = session.records("/shipments/list", "shipments", {"status[eq]": "2105"})
        for shipment in pool.map(detail, rows):
            print(shipment["id"], shipment["globalRoute"][-1]["etaToStop"]["etaValue"])


if __name__ == "__main__":
    main()
