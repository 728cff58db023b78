"""The spans of OpenTelemetry: no secret in them, and all of them below the caller's.

Its first releases put the arguments of a Redis command into a span, as text. So the
script looks at that text as well.
"""

from __future__ import annotations

import sys
from typing import Any

import requests
from _sharing import RedisServer
from opentelemetry import trace
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from turvo_session import TurvoAuth
from turvo_session.testing import FakeTurvo

PACKAGE = "OpenTelemetry (requests, redis)"
REQUIRES = [
    "opentelemetry-sdk",
    "opentelemetry-instrumentation-redis",
    "opentelemetry-instrumentation-requests",
]
HOW = "no secret in a span; login and Redis are children of the caller's span"


def collect() -> tuple[InMemorySpanExporter, list[str]]:
    """Return where the spans go, and the arguments of every command as text."""
    exporter, arguments = InMemorySpanExporter(), []
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)

    def note_arguments(span: Any, client: Any, args: list[Any], kwargs: Any) -> None:
        arguments.append(" ".join(map(str, args)))

    RequestsInstrumentor().instrument()
    RedisInstrumentor().instrument(request_hook=note_arguments)
    return exporter, arguments


def main() -> int:
    """Return 0 if a cold start and a heal show no secret and are one trace."""
    with RedisServer(port=0) as server, FakeTurvo() as turvo:
        exporter, arguments = collect()
        tracer = trace.get_tracer("compatibility")
        auth = TurvoAuth.from_env({**turvo.environ, "REDIS_URL": server.url})
        secrets = {turvo.password, turvo.api_key}
        with tracer.start_as_current_span("job"):
            for _ in range(2):
                requests.get(f"{turvo.base_url}/shipments/list", auth=auth, timeout=5)
                secrets.add(auth.token().access_token)
                turvo.revoke()
    spans = exporter.get_finished_spans()
    traces = {span.context.trace_id for span in spans}
    shown = " ".join([*(span.to_json() for span in spans), *arguments])
    leaked = sum(secret in shown for secret in secrets)
    print(f"{len(arguments)} commands, {len(traces)} traces, {leaked} secrets shown")
    return 0 if arguments and len(traces) == 1 and not leaked else 1


if __name__ == "__main__":
    sys.exit(main())
