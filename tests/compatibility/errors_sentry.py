"""Sentry's events of failed logins, with the locals of every frame: no secret."""

from __future__ import annotations

import json
import sys
from typing import Any

import requests
import sentry_sdk
from _calls import report
from sentry_sdk.transport import Transport

from turvo_session import TurvoAuth, TurvoAuthError
from turvo_session.testing import FakeTurvo

PACKAGE = "Sentry (sentry-sdk)"
REQUIRES = ["sentry-sdk"]
HOW = "no secret in an event, its locals and breadcrumbs included"


class MemoryTransport(Transport):
    """Keeps what would be sent, as text."""

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.sent: list[str] = []

    def capture_envelope(self, envelope: Any) -> None:
        """Keep one envelope."""
        for item in envelope.items:
            self.sent.append(json.dumps(item.payload.json, default=repr))


def fail_to_log_in(auth: TurvoAuth) -> str:
    """Have Sentry note a call that fails; return the name of the error."""
    try:
        requests.get(f"{auth.base_url}/shipments/list", auth=auth, timeout=5)
    except TurvoAuthError as error:
        sentry_sdk.capture_exception()
        return type(error).__name__
    return ""


def main() -> int:
    """Return 0 if a rejected and a broken login show no secret."""
    transport = MemoryTransport()
    sentry_sdk.init(
        dsn="https://key@sentry.example/1",
        transport=transport,
        include_local_variables=True,
        send_default_pii=True,
        traces_sample_rate=1.0,
        event_scrubber=None,
        max_value_length=100_000,
    )
    failed, secrets = [], set()
    for password in ("wrong-password-4711", ""):
        with FakeTurvo() as turvo:
            auth = TurvoAuth.from_env(turvo.environ)
            secrets |= {turvo.password, turvo.api_key, auth.token().access_token}
            if password:
                secrets.add(password)
                auth = TurvoAuth.from_env(turvo.environ, password=password)
            else:
                auth.forget()
                turvo.fail_next(500, where="token", times=3)
            failed.append(fail_to_log_in(auth))
    sentry_sdk.flush()
    shown = "\n".join(transport.sent)
    leaked = sum(secret in shown for secret in secrets)
    frames = shown.count('"vars"')
    text = f"{failed}: {frames} frames with locals, {leaked} secrets shown"
    return report(all(failed) and frames > 0 and not leaked, text)


if __name__ == "__main__":
    sys.exit(main())
