"""The script of ``before.py`` with ``turvo_session``: two lines look after the token.

While scripts of both kinds run, set ``TURVO_TOKEN_KEY=turvo:auth_token``. Then they
share one token.
"""

from __future__ import annotations

from typing import Any

import requests

from turvo_session import TurvoAuth

session = requests.Session()
session.auth = auth = TurvoAuth.from_env()


def turvo_get(endpoint: str, params: dict[str, Any] | None = None) -> Any:
    """Return the JSON of an answer."""
    response = session.get(f"{auth.base_url}{endpoint}", params=params, timeout=30)
    response.raise_for_status()
    return response.json()


if __name__ == "__main__":
    page = turvo_get("/shipments/list", {"status[eq]": "2105"})
    for shipment in page["details"].get("shipments", []):
        # A shipper has written the customId: `!a` shows control characters as text.
        print(f"{shipment['id']} {shipment['customId']!a}")
