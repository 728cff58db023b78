"""Jupyter: cells of a notebook share a session across a revoked token."""

from __future__ import annotations

import os
import sys

import nbformat
from _calls import report
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from turvo_session.testing import FakeTurvo

PACKAGE = "Jupyter (nbclient, ipykernel)"
REQUIRES = ["nbclient", "ipykernel"]
HOW = "cells heal a 401; `TurvoAuth?` and a displayed auth show no secret"

CELLS = [
    "from turvo_session import TurvoAuth, TurvoSession\n"
    "session = TurvoSession.from_env()\nsession.auth",
    "TurvoAuth?",
    "session.get('/shipments/list').status_code",
]


def main() -> int:
    """Return 0 if each cell works and no output holds a secret."""
    with FakeTurvo() as turvo:
        os.environ.update(turvo.environ)
        notebook = new_notebook(cells=[new_code_cell(source) for source in CELLS])
        client = NotebookClient(notebook, timeout=60)
        with client.setup_kernel():
            for number, cell in enumerate(notebook.cells):
                client.execute_cell(cell, number)
            turvo.revoke()
            client.execute_cell(notebook.cells[2], 2)
        status = notebook.cells[2].outputs[-1]["data"]["text/plain"]
        shown = nbformat.writes(notebook)
        secrets = (turvo.password, turvo.api_key, "3b_-")
        leaked = [secret for secret in secrets if secret in shown]
        logins = turvo.logins
    text = f"{status} after {logins} logins; {len(leaked)} secrets shown"
    return report(status == "200" and logins == 2 and not leaked, text)


if __name__ == "__main__":
    sys.exit(main())
