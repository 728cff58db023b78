"""The lists of ``FakeTurvo``: filters, order and pages.

A query that Turvo does not document is an error here. Turvo itself might ignore a
misspelt filter and pass every row, which no test would notice. So these are errors: a
filter or an operator that does not exist, a filter without an operator, a parameter in
the wrong case, a ``start`` that is not a number. Other parameters are ignored.

A filter compares text. Moments are brought into one form first, so that
``2026-01-02T04:00:00-06:00`` equals ``2026-01-02T10:00:00Z``; a date alone, such as
``2026-01-02``, comes before every moment of its day. A record that has several values
for a filter, such as two customers, passes if one of them does.

The page rules are Turvo's: at most 24 rows, whatever is asked; ``pagination.start`` is
the offset of the next page; an empty list is left out of the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

JsonObject = dict[str, Any]

PAGE_CAP = 24
"""Rows on a page at most, whatever is asked."""

FILTERS: dict[str, tuple[str, ...]] = {
    "bolNumber": ("eq",),
    "containerNumber": ("eq",),
    "created": ("gte", "lte", "in"),
    "customId": ("eq", "in", "like"),
    "customerId": ("eq", "in"),
    "deliveryDate": ("gte", "lte"),
    "locationId": ("eq", "in"),
    "other": ("eq",),
    "parentAccount": ("eq",),
    "pickupDate": ("gte", "lte"),
    "poNumber": ("eq",),
    "proNumber": ("eq",),
    "routeNumber": ("eq",),
    "serviceAreaKey": ("eq",),
    "status": ("eq", "in"),
    "trackingProvider": ("in",),
    "truckNumber": ("eq",),
    "updated": ("gte", "lte", "in"),
}
"""The filters of Turvo's list of shipments, with their operators."""

_PATHS = {
    "customerId": ("customerOrder", "customer", "id"),
    "locationId": ("globalRoute", "location", "id"),
    "parentAccount": ("customerOrder", "customer", "parentAccount", "id"),
    "status": ("status", "code", "key"),
}
"""Where a record has what a filter asks for; else in a field of the filter's name."""

_COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "eq": str.__eq__,
    "gte": str.__ge__,
    "in": str.__eq__,
    "like": lambda value, wanted: wanted.strip("%") in value,
    "lte": str.__le__,
}

_PARAMETERS = ("start", "pageSize", "sortBy")
_SORT_KEYS = ("created", "customId", "lastUpdatedOn", "updated")

Query = Mapping[str, str]
RecordTest = Callable[[JsonObject], bool]


class ListQuery:
    """What a request asks of the list of shipments.

    ``start`` is the offset of the first row, ``size`` the number of rows on a page.
    Raises ``ValueError`` for a query that Turvo does not document.
    """

    def __init__(self, query: Query) -> None:
        _check_parameters(query)
        self.start: int = _parse_count(query, "start", 0)
        asked_size = _parse_count(query, "pageSize", PAGE_CAP)
        self.size: int = max(1, min(asked_size, PAGE_CAP))
        self._sort_by = _checked_sort_key(query.get("sortBy", ""))
        self._filters = [
            _make_filter(name, wanted)
            for name, wanted in query.items()
            if "[" in name or "]" in name
        ]

    def matching(self, records: Sequence[JsonObject]) -> list[JsonObject]:
        """Return the records that pass all filters, in the order that was asked for."""
        found = list(records)
        for passes_filter in self._filters:
            found = [record for record in found if passes_filter(record)]
        field = self._sort_by.removeprefix("-")
        if field:
            found.sort(key=lambda record: str(record[field]))
        if self._sort_by.startswith("-"):
            found.reverse()
        return found


def page_details(
    key: str,
    rows: Sequence[JsonObject],
    start: int,
    size: int,
    total: int,
) -> JsonObject:
    """Return the ``details`` of a page; Turvo leaves the list out if it is empty."""
    pagination = {
        # The offset of the next page, not of this one.
        "start": start + len(rows),
        "pageSize": size,
        "totalRecordsInPage": len(rows),
        "moreAvailable": start + size < total,
        "lastObjectKey": None,
    }
    details: JsonObject = {"pagination": pagination}
    if rows:
        details[key] = list(rows)
    return details


def values_at(value: Any, path: Sequence[str]) -> list[Any]:
    """Return all values at the end of a path, through every row of the lists on it."""
    if isinstance(value, list):
        return [found for row in value for found in values_at(row, path)]
    if not path:
        return [value]
    if not isinstance(value, dict):
        return []
    return values_at(value.get(path[0]), path[1:])


def format_moment(moment: datetime) -> str:
    """Return a moment in UTC as Turvo writes it, with milliseconds."""
    text = moment.strftime("%Y-%m-%dT%H:%M:%S.")
    return f"{text}{moment.microsecond // 1000:03d}Z"


def _check_parameters(query: Query) -> None:
    """Raise ``ValueError`` for a name that was probably meant to be another one."""
    for name in query:
        if name in FILTERS:
            operator = FILTERS[name][0]
            raise ValueError(f"{name} needs an operator, such as {name}[{operator}]")
        for parameter in _PARAMETERS:
            if name != parameter and name.lower() == parameter.lower():
                raise ValueError(f"{name} must be spelt {parameter}")


def _parse_count(query: Query, name: str, default: int) -> int:
    """Return a number of rows."""
    value = query.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise ValueError(f"{name} must be a whole number, 0 or more")
    return int(value)


def _checked_sort_key(sort_by: str) -> str:
    """Return ``sort_by`` if rows can be sorted by it; ``-`` in front reverses them."""
    if sort_by and sort_by.removeprefix("-") not in _SORT_KEYS:
        raise ValueError(f"sortBy must be one of {', '.join(_SORT_KEYS)}")
    return sort_by


def _make_filter(name: str, wanted: str) -> RecordTest:
    """Return a function that tells whether a record passes the filter ``name``."""
    field, bracket, operator = name.removesuffix("]").partition("[")
    is_whole = bracket and name.endswith("]")
    if not is_whole or operator not in FILTERS.get(field, ()):
        raise ValueError(f"there is no filter {name}")
    compare = _COMPARISONS[operator]
    choices = [wanted]
    if operator == "in":
        choices = wanted.split(",")
    comparable = [_comparable(choice.strip()) for choice in choices]

    def passes_filter(record: JsonObject) -> bool:
        """Compare each value of the record with each choice."""
        return any(
            compare(_comparable(value), choice)
            for value in _filter_values(record, field)
            for choice in comparable
        )

    return passes_filter


def _comparable(text: str) -> str:
    """Return a moment in one form, whatever its offset; any other text as it is."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            return text
        return format_moment(moment.astimezone(UTC))
    except (ValueError, OverflowError):
        return text


def _filter_values(record: JsonObject, field: str) -> list[str]:
    """Return what a record has for a filter; it may have several customers or stops."""
    if field.endswith("Date"):
        found = _appointments(record, field.removesuffix("Date"))
    elif field in _PATHS:
        found = values_at(record, _PATHS[field])
    else:
        found = [*values_at(record, [field]), *_external_ids(record, field)]
    return [str(value) for value in found if value is not None]


def _appointments(record: JsonObject, kind: str) -> list[Any]:
    """Return the appointments at the ``pickup`` or ``delivery`` stops."""
    return [
        date
        for stop in values_at(record, ["globalRoute"])
        for stop_kind in values_at(stop, ["stopType", "value"])
        for date in values_at(stop, ["appointment", "date"])
        if str(stop_kind).lower() == kind
    ]


def _external_ids(record: JsonObject, field: str) -> list[Any]:
    """Return the values of e.g. ``bolNumber``, which Turvo names ``BOL #``."""
    kind = field.removesuffix("Number").lower()
    return [
        value
        for entry in values_at(record, ["customerOrder", "externalIds"])
        for name in values_at(entry, ["type", "value"])
        for value in values_at(entry, ["value"])
        if str(name).lower().startswith(kind)
    ]
