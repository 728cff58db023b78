"""What Turvo tells of a shipment, and what a dispatcher wants to know of it."""

from __future__ import annotations

from typing import Any

from turvo_session import TurvoResponseError, TurvoSession

DELIVERY = "1501"

Shipment = dict[str, Any]


def detail(session: TurvoSession, shipment_id: int) -> Shipment:
    """All that Turvo knows of a shipment; a 200 may tell of an error."""
    response = session.get(f"/shipments/{shipment_id}")
    response.raise_for_status()
    answer = response.json()
    if answer["Status"] != "SUCCESS":
        raise TurvoResponseError(f"Turvo says {dig(answer, 'details', 'errorMessage')!r}")
    return answer["details"]


def summary(shipment: Shipment) -> Shipment:
    """What a dispatcher wants to know: where it is to be delivered next, when, and whom to call."""
    stops = [stop for stop in live(shipment.get("globalRoute")) if dig(stop, "state") == "OPEN"]
    delivery = next((stop for stop in stops if str(dig(stop, "stopType", "key")) == DELIVERY), None)
    carriers, customers = live(shipment.get("carrierOrder")), live(shipment.get("customerOrder"))
    phones = [dig(who, "phone", "number") for order in carriers for who in live(dig(order, "drivers"))]
    return {
        "id": shipment["id"],
        "custom_id": shipment.get("customId"),
        "customer": next((dig(order, "customer", "name") for order in customers), None),
        "carrier": next((dig(order, "carrier", "name") for order in carriers), None),
        "driver_phone": next(filter(None, phones), None),
        "destination": dig(delivery, "address", "city"),
        "appointment": dig(delivery, "appointment", "date"),
        "eta": dig(delivery, "etaToStop", "etaValue"),
    }


def dig(value: Any, *path: str) -> Any:
    """What is at the end of the path, or None."""
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def live(rows: Any) -> list[Any]:
    """The rows that are not deleted: Turvo leaves those in the arrays."""
    return [row for row in rows or () if not dig(row, "deleted")]
