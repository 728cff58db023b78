"""structlog's ExtraAdder with our log records: the message is not overwritten."""

from __future__ import annotations

import io
import json
import logging
import sys

import requests
import structlog
from _calls import call_across_revocation, report

from turvo_session import TurvoAuth
from turvo_session.testing import FakeTurvo

PACKAGE = "structlog"
REQUIRES = ["structlog"]
HOW = "`ExtraAdder` adds our fields and overwrites nothing"


def log_into(stream: io.StringIO) -> None:
    """Have our logger write its records as lines of JSON."""
    formatter = structlog.stdlib.ProcessorFormatter(
        processor=structlog.processors.JSONRenderer(),
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.ExtraAdder(),
        ],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.getLogger("turvo_session")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def main() -> int:
    """Return 0 if each line has the message, the level and the fields."""
    stream = io.StringIO()
    log_into(stream)
    with FakeTurvo() as turvo, requests.Session() as session:
        session.auth = TurvoAuth.from_env(turvo.environ)
        call_across_revocation(turvo, session)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    messages = [line["event"].partition(":")[0] for line in lines]
    names = {line["turvo_event"] for line in lines}
    good = all(message.startswith("logged in because") for message in messages)
    levels = {line["level"] for line in lines}
    text = f"messages {messages}, events {sorted(names)}, levels {sorted(levels)}"
    return report(good and names == {"LoggedIn"} and levels == {"info"}, text)


if __name__ == "__main__":
    sys.exit(main())
