"""elastic-apm: what it would send of a failed login and of calls holds no secret."""

from __future__ import annotations

import sys
from typing import Any

import elasticapm
import requests
from _calls import report
from elasticapm.transport.base import Transport

from turvo_session import TurvoAuth, TurvoAuthError
from turvo_session.testing import FakeTurvo

PACKAGE = "elastic-apm"
REQUIRES = ["elastic-apm"]
HOW = "no secret in transactions, spans and errors with their locals"

sent: list[str] = []


class MemoryTransport(Transport):
    """Keeps what would be sent, as text."""

    def queue(self, event_type: Any, data: Any, flush: bool = False) -> None:
        """Keep one event."""
        sent.append(f"{event_type} {data!r}")


def main() -> int:
    """Return 0 if the events show no secret."""
    client = elasticapm.Client(
        service_name="turvo",
        transport_class=f"{__name__}.MemoryTransport",
        collect_local_variables="all",
        metrics_interval="0s",
        central_config=False,
        cloud_provider="none",
        sanitize_field_names=[],
        disable_metrics="*",
    )
    elasticapm.instrument()
    with FakeTurvo() as turvo:
        auth = TurvoAuth.from_env(turvo.environ)
        client.begin_transaction("job")
        status = requests.get(
            f"{turvo.base_url}/shipments/list", auth=auth, timeout=5
        ).status_code
        wrong = TurvoAuth.from_env(turvo.environ, password="wrong-password-4711")
        try:
            wrong.token()
        except TurvoAuthError:
            client.capture_exception()
        client.end_transaction("job", "done")
        secrets = [turvo.password, turvo.api_key, "3b_-", "wrong-password-4711"]
    client.close()
    shown = "\n".join(sent)
    leaked = [secret for secret in secrets if secret in shown]
    kinds = {one.partition(" ")[0] for one in sent}
    text = f"{status}, events {sorted(kinds)}, {len(leaked)} secrets shown"
    return report(status == 200 and {"span", "error"} <= kinds and not leaked, text)


if __name__ == "__main__":
    sys.exit(main())
