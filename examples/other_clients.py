"""The token for whatever is not ``requests``: ``urllib`` here; httpx, aiohttp and curl take the same two headers."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from turvo_session import Token, TurvoAuth

auth = TurvoAuth.from_env()


def headers(token: Token) -> dict[str, str]:
    """With httpx: ``httpx.get(url, headers=headers(auth.token()))``."""
    return {"Authorization": f"Bearer {token.access_token}", "x-api-key": os.environ["TURVO_API_KEY"]}


def get(path: str) -> Any:
    url = auth.base_url + path
    token = auth.token()  # ask each time: it costs nothing while a token is good
    try:
        answer = urlopen(Request(url, headers=headers(token)), timeout=30)
    except HTTPError as error:
        if error.code != 401:
            raise
        # What a requests session does by itself: another token, and once more. Not so if somebody was faster.
        if auth.token().access_token == token.access_token:
            auth.forget()
        answer = urlopen(Request(url, headers=headers(auth.token())), timeout=30)
    with answer:
        return json.load(answer)


if __name__ == "__main__":
    for row in get("/shipments/list?status[eq]=2105")["details"].get("shipments", []):
        print(row["id"], row["customId"])
