"""python-json-logger with our log records: the fields stand beside the message."""

from __future__ import annotations

import io
import json
import logging
import sys

import requests
from _calls import call_across_revocation, report
from pythonjsonlogger.json import JsonFormatter

from turvo_session import TurvoAuth
from turvo_session.testing import FakeTurvo

PACKAGE = "python-json-logger"
REQUIRES = ["python-json-logger"]
HOW = "our fields stand beside the message, and no secret is in a line"


def main() -> int:
    """Return 0 if each line has a message and our fields, and shows no secret."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("%(message)s %(levelname)s"))
    logging.basicConfig(level=logging.DEBUG, handlers=[handler])
    with FakeTurvo() as turvo, requests.Session() as session:
        session.auth = auth = TurvoAuth.from_env(turvo.environ)
        call_across_revocation(turvo, session)
    secrets = [turvo.password, turvo.api_key, auth.token().access_token]
    written = stream.getvalue()
    leaked = sum(secret in written for secret in secrets)
    lines = [json.loads(line) for line in written.splitlines()]
    ours = [line for line in lines if "turvo_event" in line]
    events = [line["turvo_event"] for line in ours if line["levelname"] == "INFO"]
    good = events == ["LoggedIn", "LoggedIn"] and all(map(has_message, ours))
    return report(good and not leaked, f"{events}, {leaked} secrets in the log")


def has_message(line: dict[str, str]) -> bool:
    """Return whether a line has a message of its own."""
    return bool(line["message"]) and line["message"] != line["turvo_event"]


if __name__ == "__main__":
    sys.exit(main())
