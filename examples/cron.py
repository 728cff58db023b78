"""A one-shot for cron: shipments due for delivery today or before, and not yet there. Exit code 1: it failed.

*/15 * * * *  set -a; . /etc/turvo.env; python cron.py
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import requests

from turvo_session import SettingsError, TurvoSession


def main() -> None:
    session = TurvoSession.from_env()  # the token of the run before is in Redis: no login
    today = datetime.now(UTC).strftime("%Y-%m-%dT23:59:59Z")
    late = {"status[eq]": "2105", "deliveryDate[lte]": today}
    for shipment in session.records("/shipments/list", "shipments", late):
        print(shipment["id"], shipment["customId"], shipment["status"]["code"]["value"])


if __name__ == "__main__":
    try:
        main()
    except SettingsError as error:
        sys.exit(f"cron: {error}")
    except requests.RequestException as error:
        sys.exit(f"cron: {type(error).__name__}: {error}")
