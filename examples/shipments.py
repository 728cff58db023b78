"""What a dispatcher wants to know of a shipment, out of all that Turvo tells.

Turvo's answers vary: rows that were deleted stay in their lists, a stop may have a kind
without a key, a phone is in one of two places, and anything may be missing or null.
"""

from __future__ import annotations

from typing import Any

Shipment = dict[str, Any]

DELIVERY_KEY = "1501"


def summary(shipment: Shipment) -> Shipment:
    """Return where a shipment goes next, when it arrives, and whom to call.

    What Turvo does not tell is ``None``.
    """
    delivery = next_delivery(shipment)
    carrier, driver_phone = carrier_and_phone(shipment)
    orders = without_deleted(shipment.get("customerOrder"))
    customers = [text_at_path(order, "customer", "name") for order in orders]
    appointment = text_at_path(delivery, "appointment", "date")
    return {
        "id": shipment.get("id"),
        "custom_id": text_at_path(shipment, "customId"),
        "customer": first_present(customers),
        "carrier": carrier,
        "driver_phone": driver_phone,
        "destination": text_at_path(delivery, "address", "city"),
        "appointment": appointment or text_at_path(delivery, "appointment", "start"),
        "eta": text_at_path(delivery, "etaToStop", "etaValue"),
    }


def next_delivery(shipment: Shipment) -> Any:
    """Return the first delivery that is still open, or ``None``.

    Only the stops of the whole route have an ETA. Where there is no such route, the
    stops are in the orders of the customers.
    """
    stops = without_deleted(shipment.get("globalRoute"))
    if not stops:
        for order in without_deleted(shipment.get("customerOrder")):
            stops += without_deleted(value_at_path(order, "route"))
    for stop in stops:
        is_open = value_at_path(stop, "state") in ("OPEN", None)
        if is_open and is_delivery(stop):
            return stop
    return None


def is_delivery(stop: Any) -> bool:
    """Tell whether a stop is a delivery; some have a name for it and no key."""
    key = str(value_at_path(stop, "stopType", "key"))
    name = str(value_at_path(stop, "stopType", "value"))
    return key == DELIVERY_KEY or name.lower() == "delivery"


def carrier_and_phone(shipment: Shipment) -> tuple[Any, Any]:
    """Return the present carrier and its driver's phone: the last one assigned."""
    orders = without_deleted(shipment.get("carrierOrder"))
    for order in reversed(orders):
        drivers = without_deleted(value_at_path(order, "drivers"))
        for driver in reversed(drivers):
            number = phone_number(driver)
            if number:
                return text_at_path(order, "carrier", "name"), number
    carriers = [text_at_path(order, "carrier", "name") for order in orders]
    return first_present(carriers), None


def phone_number(driver: Any) -> Any:
    """Return a number that is not deleted, from either place that Turvo has for it."""
    phones = [value_at_path(driver, "phone")]
    phones += without_deleted(value_at_path(driver, "context", "phones"))
    numbers = [text_at_path(phone, "number") for phone in without_deleted(phones)]
    return first_present(numbers)


def without_deleted(rows: Any) -> list[Any]:
    """Return the rows of a list that are not deleted."""
    if not isinstance(rows, list):
        return []
    return [row for row in rows if not value_at_path(row, "deleted")]


def text_at_path(value: Any, *path: str) -> Any:
    """Return the text or number at the end of the path, or ``None``."""
    found = value_at_path(value, *path)
    if isinstance(found, str | int):
        return found
    return None


def value_at_path(value: Any, *path: str) -> Any:
    """Return what is at the end of the path, or ``None``."""
    for step in path:
        if not isinstance(value, dict):
            return None
        value = value.get(step)
    return value


def first_present(values: list[Any]) -> Any:
    """Return the first value that is neither missing nor empty, or ``None``."""
    for value in values:
        if value:
            return value
    return None
