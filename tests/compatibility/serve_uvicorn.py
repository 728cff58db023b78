"""uvicorn: an ASGI application that calls Turvo in threads."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from _serving import serves

PACKAGE = "uvicorn"
REQUIRES = ["uvicorn"]
HOW = "two workers; `asyncio.to_thread` keeps the loop free; healed 401"


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer like the WSGI application, but call Turvo in a thread."""
    if scope["type"] != "http":
        return
    from _application import application as answer

    [body] = await asyncio.to_thread(answer, {}, lambda *_: None)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def main() -> int:
    """Return 0 if two workers share the logins."""
    host = ["--host", "127.0.0.1", "--port", "PORT"]
    options = ["--workers", "2", "--log-level", "error", "--lifespan", "off", *host]
    return serves(
        [sys.executable, "-m", "uvicorn", "serve_uvicorn:application", *options]
    )


if __name__ == "__main__":
    sys.exit(main())
