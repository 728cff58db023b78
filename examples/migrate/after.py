"""The script of ``before.py`` with ``turvo_session``: one line looks after the token.

While scripts of both kinds run, let them share one: set ``TURVO_TOKEN_KEY=turvo:auth_token``.
"""

from __future__ import annotations

from typing import Any

import requests

from turvo_session import TurvoAuth

session = requests.Session()
session.auth = auth = TurvoAuth.from_env()


def turvo_get(endpoint: str, params: dict[str, Any] | None = None) -> Any:
    response = session.get(f"{auth.base_url}{endpoint}", params=params, timeout=30)
    response.raise_for_status()
    return response.json()


if __name__ == "__main__":
    page = turvo_get("/shipments/list", {"status[eq]": "2105"})
    for shipment in page["details"].get("shipments", []):
        print(shipment["id"], shipment["customId"])
