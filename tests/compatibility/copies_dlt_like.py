"""An auth in a configuration that is copied, as dlt's rest_api_source does."""

from __future__ import annotations

import copy
import dataclasses
import sys

import requests

from turvo_session import TurvoAuth
from turvo_session.testing import FakeTurvo

PACKAGE = "copy, dataclasses (dlt's configurations)"
REQUIRES: list[str] = []
HOW = "a copy of an auth is the same auth"


@dataclasses.dataclass
class Client:
    """A configuration that holds an auth."""

    auth: TurvoAuth


def main() -> int:
    """Return 0 if every copy shares the token of the original."""
    with FakeTurvo() as turvo:
        auth = TurvoAuth.from_env(turvo.environ)
        copies = [
            copy.copy(auth),
            copy.deepcopy({"client": {"auth": auth}})["client"]["auth"],
            dataclasses.asdict(Client(auth))["auth"],
            dataclasses.replace(Client(auth)).auth,
        ]
        url = f"{turvo.base_url}/shipments/list"
        statuses = [
            requests.get(url, auth=one, timeout=5).status_code for one in copies
        ]
        print(f"{statuses}, {turvo.logins} logins")
        return 0 if set(statuses) == {200} and turvo.logins == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
