"""The shipments of ``FakeTurvo``: invented or given, and moving with time.

An invented shipment goes its way from "Tendered" to "Completed" in a few days and then
starts again. Where it is at a moment depends on the seed alone, so the same seed shows
the same shipments. Between two changes of its status nothing about it changes.

The shapes are those of recorded answers, with what scripts stumble over: a carrier that
was deleted and stays in the list, a driver's phone in two places, stops with a city in
one list and with a zip code in another, an ETA that is formatted without its date.

Shipments that a test gives, and those that a request has changed, stay as they are.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from itertools import accumulate
from random import Random
from typing import Any, NamedTuple

from .checks import check_number
from .completion import complete, kind_of
from .lists import (
    JsonObject,
    ListQuery,
    Query,
    format_moment,
    page_details,
    values_at,
)

EN_ROUTE = "2105"
"""The key of the status "En route"."""

STATUSES = {
    "2100": "Quote active",
    "2101": "Tendered",
    "2102": "Covered",
    "2103": "Dispatched",
    "2104": "At pickup",
    EN_ROUTE: "En route",
    "2106": "At delivery",
    "2107": "Delivered",
    "2108": "Ready for billing",
    "2112": "Completed",
    "2113": "Canceled",
    "2115": "Picked up",
    "2116": "Route complete",
    "2117": "Tender - offered",
    "2118": "Tender - accepted",
    "2119": "Tender - rejected",
    "2120": "Draft",
}
"""Turvo's status keys and their names."""

_HOURS_IN_STATUS = {
    "2101": (1, 4),
    "2102": (2, 8),
    "2103": (1, 4),
    "2104": (1, 3),
    EN_ROUTE: (8, 48),
    "2106": (1, 3),
    "2107": (12, 48),
    "2112": (1, 1),
}
"""The way of an invented shipment, and how long each status lasts, from and to."""

_WAY = list(_HOURS_IN_STATUS)
_STATUSES_BESIDE_THE_WAY = {"2108": "2107", "2115": EN_ROUTE, "2116": "2107"}
"""Statuses that are not on it, and one that has come as far; others are before it."""
_PICKUP_STEP = _WAY.index("2104")
_EN_ROUTE_STEP = _WAY.index(EN_ROUTE)
_LATE_BY_HOURS = (-12.0, 12.0)
"""How late a shipment arrives, from and to; less than 0 is early."""

_SHIPPERS = ("Northfield Foods", "Acme Paper", "Harbor Steel", "Prairie Mills")
_CARRIERS = ("Redline Freight", "Summit Haulers", "Lakeshore Trucking")


class _City(NamedTuple):
    """Where a shipment is picked up or delivered."""

    name: str
    state: str
    zip_code: str
    location_id: int


_CITIES = (
    _City("Chicago", "IL", "60601", 500_001),
    _City("Dallas", "TX", "75201", 500_002),
    _City("Atlanta", "GA", "30303", 500_003),
    _City("Denver", "CO", "80202", 500_004),
    _City("Columbus", "OH", "43215", 500_005),
    _City("Fresno", "CA", "93721", 500_006),
)


class Shipments:
    """All shipments of one ``FakeTurvo``.

    ``given``: how many to invent, or your own, each a ``dict`` in the shape of Turvo's
    details; what a ``dict`` leaves out is invented. Your own keep their status until
    it is changed. ``read_calendar()`` returns the present moment of the shipments.
    """

    def __init__(
        self,
        seed: int,
        given: int | Iterable[Mapping[str, Any]],
        read_calendar: Callable[[], datetime],
    ) -> None:
        self._read_calendar = read_calendar
        self._day_one = read_calendar()
        own: list[Mapping[str, Any] | None]
        if isinstance(given, int | float):
            check_number("shipments", given, 0, math.inf, whole=True)
            own = [None] * given
        else:
            own = [_checked_shipment(shipment) for shipment in given]
        self._shipments = [
            _Shipment(seed, number, self._day_one, shipment)
            for number, shipment in enumerate(own, 1)
        ]
        for name in ("id", "customId"):
            _check_unique(name, [one.record_at(0.0)[name] for one in self._shipments])

    def list_page(self, query: Query) -> JsonObject:
        """Return the ``details`` of one page. Raises ``ValueError`` for a bad query."""
        asked = ListQuery(query)
        hours = self._hours_since_day_one()
        records = [shipment.record_at(hours) for shipment in self._shipments]
        found = asked.matching(records)
        page = found[asked.start : asked.start + asked.size]
        rows = [_as_row(record) for record in page]
        return page_details("shipments", rows, asked.start, asked.size, len(found))

    def find_details(self, identity: str) -> JsonObject | None:
        """Return the shipment with this ``id`` or ``customId``, or ``None``."""
        hours = self._hours_since_day_one()
        shipment = self._find_shipment(identity, hours)
        if shipment is None:
            return None
        return shipment.record_at(hours)

    def change(self, identity: str, body: Any) -> JsonObject | None:
        """Change what ``body`` names of a shipment; it stays so from now on.

        ``body`` is an object in the shape of Turvo's details, such as
        ``{"status": {"code": {"key": "2107"}}}``. A list in it takes the place of the
        whole list. Another status takes the stops along.

        Returns the shipment, or ``None`` if there is none with this id. Raises
        ``ValueError`` for a body of another shape and for an unknown status.
        """
        status_key = _read_status_key(body)
        hours = self._hours_since_day_one()
        shipment = self._find_shipment(identity, hours)
        if shipment is None:
            return None
        if body:
            shipment.change(body, status_key, hours)
        return shipment.record_at(hours)

    def _find_shipment(self, identity: str, hours: float) -> _Shipment | None:
        """Return the shipment whose ``id`` or ``customId`` this is."""
        for shipment in self._shipments:
            record = shipment.record_at(hours)
            if identity in (str(record["id"]), record["customId"]):
                return shipment
        return None

    def _hours_since_day_one(self) -> float:
        """Return how far the calendar has moved."""
        passed = self._read_calendar() - self._day_one
        return passed.total_seconds() / 3600


class _Shipment:
    """One shipment; everything that chance decides about it is decided here.

    Times are hours since ``day_one``, the moment at which ``FakeTurvo`` was made.
    """

    def __init__(
        self,
        seed: int,
        number: int,
        day_one: datetime,
        own: Mapping[str, Any] | None,
    ) -> None:
        random = Random(f"{seed}:{number}")
        spans = [random.uniform(*hours) for hours in _HOURS_IN_STATUS.values()]
        self._number = number
        self._day_one = day_one
        self._ends = list(accumulate(spans))
        self._begins = [0.0, *self._ends]
        self._head_start = random.uniform(0, self._ends[-1])
        self._late_by = random.uniform(*_LATE_BY_HOURS)
        self._shipper = random.choice(_SHIPPERS)
        self._carrier = random.choice(_CARRIERS)
        self._origin, self._destination = random.sample(_CITIES, 2)
        self._phone = f"555-01{random.randrange(100):02d}"
        self._cached: JsonObject = {}
        self._cached_for: tuple[float, int] | None = None
        self._kept: JsonObject | None = None
        if own is not None:
            self._keep_own(own)

    def record_at(self, hours: float) -> JsonObject:
        """Return the shipment in the shape of Turvo's details."""
        if self._kept is not None:
            return self._kept
        length = self._ends[-1]
        lap, elapsed = divmod(hours + self._head_start, length)
        step = min(bisect(self._ends, elapsed), len(_WAY) - 1)
        if self._cached_for != (lap, step):
            # All times count from this: nothing moves unless the status changes.
            born = lap * length - self._head_start
            self._cached = self._invent_record(born, step)
            self._cached_for = (lap, step)
        return self._cached

    def change(self, body: Mapping[str, Any], status_key: str, hours: float) -> None:
        """Keep the record from now on as a user of Turvo has changed it.

        ``status_key`` is that of the status in ``body``, or "".
        """
        before = self.record_at(hours)
        if body.get("id", before["id"]) != before["id"]:
            raise ValueError("the id of a shipment must stay")
        now = self._format_hours(hours)
        record = {**_changed(before, body), "updated": now, "lastUpdatedOn": now}
        if status_key:
            record["status"] = _make_status(status_key)
            record["globalRoute"] = _moved_stops(record["globalRoute"], status_key, now)
        self._kept = record

    def _keep_own(self, own: Mapping[str, Any]) -> None:
        """Complete a shipment of the user's: en route, unless it says otherwise.

        It is an hour old in its status, and its stops have come as far.
        """
        status = _complete_status(own.get("status", _make_status(EN_ROUTE)))
        step = _step_of(status)
        born = -1.0 - self._begins[step]
        invented = self._invent_record(born, step)
        self._kept = complete({**own, "status": status}, invented)

    def _invent_record(self, born: float, step: int) -> JsonObject:
        """Return the shipment that began at ``born`` and has come to this step."""
        updated = self._format_hours(born + self._begins[step])
        return {
            "id": 900_000_000 + self._number,
            "customId": f"L{10_000 + self._number}",
            "created": self._format_hours(born),
            "updated": updated,
            "lastUpdatedOn": updated,
            "status": _make_status(_WAY[step]),
            "customerOrder": [self._invent_customer_order(born)],
            "carrierOrder": self._invent_carrier_orders(),
            "globalRoute": self._invent_route(born, step),
        }

    def _invent_route(self, born: float, step: int) -> list[JsonObject]:
        """Return the stops, which have names and no zip codes."""
        pickup = self._pickup_moment(born)
        delivery = self._delivery_moment(born)
        eta = self._format_hours(born + self._ends[_EN_ROUTE_STEP])
        return [
            {
                **_make_stop("1500", "Pickup", self._origin, pickup),
                **_make_progress(pickup, done=step >= _EN_ROUTE_STEP),
            },
            {
                **_make_stop("1501", "Delivery", self._destination, delivery),
                **_make_progress(eta, done=step > _EN_ROUTE_STEP),
            },
        ]

    def _invent_customer_order(self, born: float) -> JsonObject:
        """Return an order whose stops have zip codes and another form of date."""
        pickup = self._pickup_moment(born)
        delivery = self._delivery_moment(born)
        return {
            "id": 800_000_000 + self._number,
            "deleted": False,
            "customer": {"id": 7_000_001, "name": self._shipper},
            "externalIds": [
                _make_external_id("1400", "PO #", f"PO{20_000 + self._number}"),
                _make_external_id("1402", "BOL #", f"BOL{30_000 + self._number}"),
            ],
            "route": [
                _make_order_stop("1500", "Pickup", self._origin, pickup),
                _make_order_stop("1501", "Delivery", self._destination, delivery),
            ],
        }

    def _invent_carrier_orders(self) -> list[JsonObject]:
        """Return two orders, one of them deleted: Turvo keeps those in its arrays."""
        return [
            {
                "id": 810_000_000 + self._number,
                "deleted": True,
                "carrier": {"id": 6_000_001, "name": "Old Carrier"},
                "drivers": [_make_driver("O. Driver", "555-0199", deleted=True)],
            },
            {
                "id": 820_000_000 + self._number,
                "deleted": False,
                "carrier": {"id": 6_000_002, "name": self._carrier},
                "drivers": [_make_driver("J. Driver", self._phone, deleted=False)],
            },
        ]

    def _pickup_moment(self, born: float) -> str:
        """Return the appointment at which the shipment is picked up."""
        return self._format_hours(born + self._begins[_PICKUP_STEP])

    def _delivery_moment(self, born: float) -> str:
        """Return the appointment: some shipments will be early, others late."""
        arrival = born + self._ends[_EN_ROUTE_STEP]
        return self._format_hours(arrival - self._late_by)

    def _format_hours(self, hours: float) -> str:
        """Return a moment as Turvo writes it."""
        return format_moment(self._day_one + timedelta(hours=hours))


def _as_row(record: JsonObject) -> JsonObject:
    """Return a record as lists show it: without stops and drivers."""
    row: JsonObject = _without(record, "globalRoute")
    for name in ("customerOrder", "carrierOrder"):
        if isinstance(row[name], list):
            row[name] = [
                _without(order, "drivers", "externalIds", "route")
                for order in row[name]
            ]
    return row


def _without(record: Any, *names: str) -> Any:
    """Return a copy of a record without some of its fields."""
    if not isinstance(record, dict):
        return record
    return {name: record[name] for name in record if name not in names}


def _make_status(status_key: str) -> JsonObject:
    """Return a status as Turvo tells it: its key and its name."""
    return {"code": {"key": status_key, "value": STATUSES[status_key]}}


def _make_stop(
    key: str,
    kind: str,
    city: _City,
    appointment: str,
) -> JsonObject:
    """Return a stop of ``globalRoute``."""
    return {
        "stopType": {"key": key, "value": kind},
        "name": f"Dock {city.name}",
        "location": {"id": city.location_id},
        "address": {"city": city.name, "state": city.state},
        "appointment": {"date": appointment, "timeZone": "UTC", "hasTime": True},
        "deleted": False,
    }


def _make_progress(eta: str, *, done: bool) -> JsonObject:
    """Return how far a stop of ``globalRoute`` has come."""
    if done:
        eta_to_stop = {"etaValue": None, "formattedEtaValue": None}
        return {"state": "COMPLETED", "etaToStop": eta_to_stop}
    # Turvo's formatted value has a leading blank and no date.
    formatted = f" {eta[11:16]} UTC"
    return {
        "state": "OPEN",
        "etaToStop": {"etaValue": eta, "formattedEtaValue": formatted},
    }


def _make_order_stop(
    key: str,
    kind: str,
    city: _City,
    appointment: str,
) -> JsonObject:
    """Return a stop of a customer's order."""
    return {
        "stopType": {"key": key, "value": kind},
        "globalShipLocationId": city.location_id,
        "address": {
            "city": city.name,
            "state": city.state,
            "zip": city.zip_code,
        },
        "appointment": {"start": appointment, "timezone": "UTC"},
        "deleted": False,
    }


def _make_driver(name: str, number: str, *, deleted: bool) -> JsonObject:
    """Return a driver with a phone, which Turvo tells twice."""
    phone = {"number": number, "isPrimary": True, "deleted": deleted}
    return {
        "context": {"id": 1, "name": name, "phones": [phone]},
        "phone": phone,
        "deleted": deleted,
    }


def _make_external_id(key: str, kind: str, value: str) -> JsonObject:
    """Return a number that somebody else knows the shipment by."""
    return {"type": {"key": key, "value": kind}, "value": value}


def _complete_status(status: Any) -> Any:
    """Return a status with its key and its name, if one of them is known."""
    keys = {name: key for key, name in STATUSES.items()}
    for code in values_at(status, ["code"]):
        if isinstance(code, Mapping) and len(code) == 1:
            key = str(code.get("key") or keys.get(str(code.get("value"))))
            if key in STATUSES:
                return {**status, **_make_status(key)}
    return status


def _step_of(status: Any) -> int:
    """Return how far a shipment in this status has come on the way."""
    for key in values_at(status, ["code", "key"]):
        step_key = _STATUSES_BESIDE_THE_WAY.get(str(key), str(key))
        if step_key in _WAY:
            return _WAY.index(step_key)
    return 0


def _changed(before: Any, change: Any) -> Any:
    """Return what holds after a change; objects are changed field by field."""
    if not (isinstance(before, Mapping) and isinstance(change, Mapping)):
        return change
    changed = {
        name: _changed(before.get(name), value) for name, value in change.items()
    }
    return {**before, **changed}


def _moved_stops(stops: Any, status_key: str, now: str) -> Any:
    """Return the stops of a shipment that has just come into a status."""
    if not isinstance(stops, list):
        return stops
    step = _step_of(_make_status(status_key))
    done = {"pickup": step >= _EN_ROUTE_STEP, "delivery": step > _EN_ROUTE_STEP}
    return [_moved_stop(stop, done.get(kind_of(stop)), now) for stop in stops]


def _moved_stop(stop: Any, done: bool | None, now: str) -> Any:
    """Return a stop that is done or not; ``None``: as it is."""
    if done is None or (stop.get("state") == "COMPLETED") == done:
        return stop
    return {**stop, **_make_progress(now, done=done)}


def _check_unique(name: str, values: Iterable[Any]) -> None:
    """Raise ``ValueError`` if two shipments cannot be told from each other."""
    for value, count in Counter(map(str, values)).items():
        if count > 1:
            raise ValueError(f"{count} of the shipments have the {name} {value}")


def _checked_shipment(shipment: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a shipment of the user's, or raise ``TypeError``."""
    if not isinstance(shipment, Mapping):
        raise TypeError("each of the shipments must be a dict")
    return shipment


def _read_status_key(body: Any) -> str:
    """Return the key of the status in the body of a request, or ``""``."""
    if not isinstance(body, dict):
        raise ValueError("the body must be an object")
    if "status" not in body:
        return ""
    found = values_at(body, ["status", "code", "key"])
    if len(found) != 1 or str(found[0]) not in STATUSES:
        raise ValueError("status.code.key must be one of Turvo's status keys")
    return str(found[0])
