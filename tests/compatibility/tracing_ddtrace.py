"""The spans of ddtrace: no secret in them, and all of them below the caller's."""

from __future__ import annotations

import os
import sys
from typing import Any

os.environ.update(
    DD_TRACE_STARTUP_LOGS="false",
    DD_INSTRUMENTATION_TELEMETRY_ENABLED="false",
    DD_REMOTE_CONFIGURATION_ENABLED="false",
    DD_TRACE_AGENT_URL="http://127.0.0.1:9",
)

import logging

import requests
from _sharing import RedisServer
from ddtrace import patch, tracer
from ddtrace.trace import TraceFilter

from turvo_session import TurvoAuth
from turvo_session.testing import FakeTurvo

PACKAGE = "ddtrace"
REQUIRES = ["ddtrace"]
HOW = "no secret in a span; login and Redis are children of the caller's span"


class Collector(TraceFilter):
    """Keeps every span, and sends none."""

    def __init__(self) -> None:
        self.spans: list[Any] = []

    def process_trace(self, trace: list[Any]) -> None:
        """Keep the spans of one trace."""
        self.spans += trace


def main() -> int:
    """Return 0 if a cold start and a heal show no secret and are one trace each."""
    logging.getLogger("ddtrace").setLevel(logging.CRITICAL)
    collector = Collector()
    tracer.configure(trace_processors=[collector])
    with RedisServer(port=0) as server, FakeTurvo() as turvo:
        patch(requests=True, redis=True)
        auth = TurvoAuth.from_env({**turvo.environ, "REDIS_URL": server.url})
        secrets = {turvo.password, turvo.api_key}
        with tracer.trace("job"):
            for _ in range(2):
                requests.get(f"{turvo.base_url}/shipments/list", auth=auth, timeout=5)
                secrets.add(auth.token().access_token)
                turvo.revoke()
        tracer.flush()
    traces = {span.trace_id for span in collector.spans}
    shown = " ".join(f"{span.resource} {tags_of(span)}" for span in collector.spans)
    leaked = sum(secret in shown for secret in secrets)
    redis_spans = sum(span.name == "redis.command" for span in collector.spans)
    print(f"{redis_spans} Redis spans, {len(traces)} traces, {leaked} secrets shown")
    return 0 if redis_spans and len(traces) == 1 and not leaked else 1


def tags_of(span: Any) -> list[str]:
    """Return what a span would send beside its name."""
    return [str(getattr(span, name, "")) for name in ("_meta", "_meta_struct")]


if __name__ == "__main__":
    sys.exit(main())
