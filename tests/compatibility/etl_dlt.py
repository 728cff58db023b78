"""dlt: its RESTClient pages through Turvo's list with the auth."""

from __future__ import annotations

import sys

from _calls import report
from dlt.sources.helpers.rest_client import RESTClient
from dlt.sources.helpers.rest_client.paginators import OffsetPaginator

from turvo_session import TurvoAuth
from turvo_session.testing import PAGE_CAP, FakeTurvo

PACKAGE = "dlt"
REQUIRES = ["dlt"]
HOW = "`RESTClient(auth=...)` with an `OffsetPaginator`: healed 401"


def main() -> int:
    """Return 0 if all rows arrive across a revocation."""
    with FakeTurvo() as turvo:
        client = RESTClient(turvo.base_url, auth=TurvoAuth.from_env(turvo.environ))
        pages = OffsetPaginator(
            limit=PAGE_CAP,
            offset_param="start",
            limit_param="pageSize",
            total_path=None,
        )
        rows = []
        listed = client.paginate(
            "/shipments/list", paginator=pages, data_selector="details.shipments"
        )
        for page in listed:
            rows += [row["id"] for row in page]
            turvo.revoke()
        logins = turvo.logins
    text = f"{len(set(rows))} rows, {logins} logins"
    return report(len(set(rows)) == len(rows) == 60 and logins > 1, text)


if __name__ == "__main__":
    sys.exit(main())
