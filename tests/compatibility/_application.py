"""A WSGI application that calls Turvo, with an auth from before the server forks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import requests

from turvo_session import TurvoAuth

auth = TurvoAuth.from_env()
auth.token()


def application(environ: object, start: Callable[..., object]) -> Iterable[bytes]:
    """Answer with the status of a call to Turvo and the number of this process."""
    answer = requests.get(f"{auth.base_url}/shipments/list", auth=auth, timeout=20)
    start("200 OK", [("Content-Type", "text/plain")])
    return [f"{answer.status_code} {os.getpid()}".encode()]
