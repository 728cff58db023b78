"""The token for clients other than ``requests``: httpx, aiohttp, curl, here urllib."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from turvo_session import Token, TurvoAuth

auth = TurvoAuth.from_env()


def headers_for(token: Token) -> dict[str, str]:
    """Return the two headers: ``httpx.get(url, headers=headers_for(auth.token()))``."""
    bearer = f"Bearer {token.access_token}"
    return {"Authorization": bearer, "x-api-key": os.environ["TURVO_API_KEY"]}


def get_json(path: str) -> Any:
    """Return an answer; after a 401, ask once more with another token."""
    url = auth.base_url + path
    token = auth.token()
    try:
        answer = urlopen(Request(url, headers=headers_for(token)), timeout=30)
    except HTTPError as error:
        if error.code != 401:
            raise
        # Another thread or process may have replaced the token already.
        if auth.token().access_token == token.access_token:
            auth.forget()
        renewed = headers_for(auth.token())
        answer = urlopen(Request(url, headers=renewed), timeout=30)
    with answer:
        return json.load(answer)


if __name__ == "__main__":
    page = get_json("/shipments/list?status[eq]=2105")["details"]
    for row in page.get("shipments", []):
        print(f"{row['id']} {row['customId']!a}")
