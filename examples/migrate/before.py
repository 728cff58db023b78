"""A typical script: it looks after its token itself. ``after.py`` is the same with ``turvo_session``.

Nothing renews a token that was revoked, every process that finds none logs in, and without Redis nothing works.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
import requests

BASE_URL = os.environ.get("TURVO_BASE_URL", "https://publicapi.turvo.com/v1")
API_KEY = os.environ["TURVO_API_KEY"]
cache = redis.Redis.from_url(os.environ["REDIS_URL"])


def get_token() -> str:
    cached = cache.get("turvo:auth_token")
    if cached:
        token = json.loads(cached)
        if datetime.fromisoformat(token["expires_at"]) > datetime.now(UTC):
            return token["access_token"]
    response = requests.post(
        f"{BASE_URL}/oauth/token",
        headers={"x-api-key": API_KEY},
        json={
            "grant_type": "password",
            "client_id": "publicapi",
            "client_secret": "secret",
            "username": os.environ["TURVO_USERNAME"],
            "password": os.environ["TURVO_PASSWORD"],
            "scope": "read+trust+write",
            "type": "business",
        },
        timeout=30,
    )
    response.raise_for_status()
    answer = response.json()
    expires_at = datetime.now(UTC) + timedelta(seconds=answer["expires_in"] - 300)
    token = {"access_token": answer["access_token"], "expires_at": expires_at.isoformat()}
    cache.set("turvo:auth_token", json.dumps(token), ex=answer["expires_in"])
    return token["access_token"]


def turvo_get(endpoint: str, params: dict[str, Any] | None = None) -> Any:
    headers = {"Authorization": f"Bearer {get_token()}", "x-api-key": API_KEY}
    response = requests.get(f"{BASE_URL}{endpoint}", headers=headers, params=params, timeout=30)
    response.raise_for_status()
    return response.json()


if __name__ == "__main__":
    page = turvo_get("/shipments/list", {"status[eq]": "2105"})
    for shipment in page["details"].get("shipments", []):
        print(shipment["id"], shipment["customId"])
