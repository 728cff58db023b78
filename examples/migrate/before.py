"""A typical script that looks after its token itself; ``after.py`` does the same.

Nothing replaces a token that was revoked, each process that finds none logs in, and
without Redis nothing works.
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


def get_token() -> Any:
    """Return the token in Redis, or log in and put one there."""
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
    life = answer["expires_in"]
    expires_at = datetime.now(UTC) + timedelta(seconds=life - 300)
    token = {
        "access_token": answer["access_token"],
        "expires_at": expires_at.isoformat(),
    }
    cache.set("turvo:auth_token", json.dumps(token), ex=life)
    return token["access_token"]


def turvo_get(endpoint: str, params: dict[str, Any] | None = None) -> Any:
    """Return the JSON of an answer."""
    response = requests.get(
        f"{BASE_URL}{endpoint}",
        headers={"Authorization": f"Bearer {get_token()}", "x-api-key": API_KEY},
        params=params,
        timeout=30,
    )
    response.raise_for_status()
    return response.json()


if __name__ == "__main__":
    page = turvo_get("/shipments/list", {"status[eq]": "2105"})
    for shipment in page["details"].get("shipments", []):
        # A shipper has written the customId: `!a` shows control characters as text.
        print(f"{shipment['id']} {shipment['customId']!a}")
