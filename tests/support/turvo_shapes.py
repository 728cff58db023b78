"""Shapes of Turvo's answers, and what is to be found in them. All is invented."""

from __future__ import annotations

from typing import Any

NUMBERS = ("PO", "BOL", "Container", "Pro", "Route", "Truck", "Other")
OWN = {
    "id": 5,
    "customId": "EXAMPLE-5",
    "status": {"code": {"key": "2107", "value": "Delivered"}},
    "created": "2026-01-02T04:00:00-06:00",
    "updated": "2026-01-03T10:00:00.000Z",
    "trackingProvider": "gps",
    "serviceAreaKey": "west",
    "customerOrder": [
        {
            "customer": {"id": 7, "parentAccount": {"id": 8}},
            "externalIds": [
                {"type": {"value": f"{kind} #"}, "value": f"{kind}-1"}
                for kind in NUMBERS
            ],
        }
    ],
    "globalRoute": [
        {
            "stopType": {"value": kind},
            "location": {"id": number},
            "appointment": {"date": f"2026-01-0{number}T00:00:00Z"},
        }
        for number, kind in enumerate(("Pickup", "Delivery"), 3)
    ],
}
"""A shipment that has something for every filter."""

FILTERED = [
    ("created[gte]", "2026-01-02T10:00:00.000Z", "2026-01-02T10:00:00.001Z"),
    ("created[in]", "2026-01-02T10:00:00Z", "2026-01-02T04:00:00Z"),
    ("created[lte]", "2026-01-02T11:00:00+01:00", "2026-01-02"),
    ("customId[eq]", "EXAMPLE-5", "EXAMPLE"),
    ("customId[in]", "other, EXAMPLE-5", "other"),
    ("customId[like]", "%AMPLE%", "%ample%"),
    ("customerId[eq]", "7", "8"),
    ("customerId[in]", "6,7", "6"),
    ("deliveryDate[gte]", "2026-01-04", "2026-01-05"),
    ("deliveryDate[lte]", "2026-01-05", "2026-01-03T00:00:00Z"),
    ("locationId[eq]", "4", "5"),
    ("locationId[in]", "3,9", "9"),
    ("other[eq]", "Other-1", "2105"),
    ("parentAccount[eq]", "8", "7"),
    ("pickupDate[gte]", "2026-01-03", "2026-01-04"),
    ("pickupDate[lte]", "2026-01-04", "2026-01-03"),
    ("serviceAreaKey[eq]", "west", "2105"),
    ("status[eq]", "2107", ""),
    ("status[in]", "2105,2107", "2105"),
    ("trackingProvider[in]", "gps,elog", "2105"),
    ("updated[gte]", "2026-01-03T10:00:00Z", "2105"),
    ("updated[in]", "2026-01-03T10:00:00Z", "0001-01-01T00:00:00+09:00"),
    ("updated[lte]", "2105", "2026-01-03T09:00:00Z"),
    *((f"{kind.lower()}Number[eq]", f"{kind}-1", "2105") for kind in NUMBERS[:-1]),
]
"""For each filter a value that passes ``OWN``, and one that does not."""


def stop_at(kind: dict[str, str], city: str, **more: object) -> dict[str, object]:
    eta = {"etaValue": f"{city}-eta"}
    return {"stopType": kind, "address": {"city": city}, "etaToStop": eta, **more}


def driven_by(*drivers: Any, **more: object) -> dict[str, object]:
    order = {"carrier": {"name": "here"}, "drivers": list(drivers), **more}
    return {"carrierOrder": [order]}


KEY, NAME = {"key": "1501", "value": "Drop"}, {"value": "delivery"}
GONE = {"deleted": True}
ONE, TWO = {"phone": {"number": "1"}}, {"phone": {"number": "2"}}
IN_CONTEXT = {"context": {"phones": [{"number": "3"} | GONE, {"number": "4"}]}}
ROUTE = [
    stop_at(KEY, "done", state="COMPLETED"),
    stop_at({"key": "1500"}, "pickup", state="OPEN"),
    stop_at(KEY, "deleted", state="OPEN", deleted=True),
    stop_at(KEY, "next", state="OPEN"),
    stop_at(KEY, "later", state="OPEN"),
]
IN_ORDER = {"route": [stop_at(KEY, "x", appointment={"start": "noon"})]}

SUMMARIES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"globalRoute": ROUTE}, {"destination": "next", "eta": "next-eta"}),
    ({"globalRoute": ROUTE[:3]}, {"destination": None, "eta": None}),
    ({"globalRoute": [stop_at(NAME, "x")]}, {"destination": "x"}),
    ({"customerOrder": [IN_ORDER]}, {"destination": "x", "appointment": "noon"}),
    (driven_by(ONE, TWO), {"driver_phone": "2", "carrier": "here"}),
    (driven_by(ONE, TWO | GONE), {"driver_phone": "1"}),
    (driven_by(ONE, {"phone": {"number": "2", **GONE}}), {"driver_phone": "1"}),
    (driven_by(IN_CONTEXT), {"driver_phone": "4"}),
    (driven_by(), {"driver_phone": None, "carrier": "here"}),
    (driven_by(ONE, **GONE), {"driver_phone": None, "carrier": None}),
    ({"globalRoute": 5, "customId": float("nan")}, {"custom_id": None}),
]
"""Details of a shipment, and what the poller's summary of it must say."""
