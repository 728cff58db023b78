"""A job for cron: list what is to be delivered by today and is still on the road.

*/15 * * * *  set -a; . /etc/turvo.env; python cron.py

The exit code is 1 if it failed; stderr says why, and cron sends that by mail.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import requests

from turvo_session import SettingsError, TurvoSession


def print_overdue() -> None:
    """Print a line for each shipment. The token comes from Redis, without a login."""
    session = TurvoSession.from_env()
    today = datetime.now(UTC).strftime("%Y-%m-%dT23:59:59Z")
    filters = {"status[eq]": "2105", "deliveryDate[lte]": today}
    for shipment in session.records("/shipments/list", "shipments", filters):
        # A shipper has written the customId: `!a` shows control characters as text.
        print(f"{shipment['id']} {shipment['customId']!a}")


if __name__ == "__main__":
    try:
        print_overdue()
    except (SettingsError, requests.RequestException) as error:
        sys.exit(f"cron: {type(error).__name__}: {error}")
