"""The token for whatever is not ``requests``: ``urllib`` here; httpx, aiohttp and curl take the same two headers."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from turvo_session import TurvoAuth

auth = TurvoAuth.from_env()


def headers() -> dict[str, str]:
    """With httpx: ``httpx.get(url, headers=headers())``. Ask each time: it costs nothing while a token is good."""
    return {
        "Authorization": f"Bearer {auth.token().access_token}",
        "x-api-key": os.environ["TURVO_API_KEY"],
    }


def get(path: str) -> Any:
    url = auth.base_url + path
    try:
        answer = urlopen(Request(url, headers=headers()), timeout=30)
    except HTTPError as error:
        if error.code != 401:
            raise
        auth.forget()  # what a requests session does by itself: another token, and once more
        answer = urlopen(Request(url, headers=headers()), timeout=30)
    with answer:
        return json.load(answer)


if __name__ == "__main__":
    for row in get("/shipments/list?status[eq]=2105")["details"].get("shipments", []):
        print(row["id"], row["customId"])
