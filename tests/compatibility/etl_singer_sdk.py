"""singer-sdk: a stream of a tap reads with the auth."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, ClassVar

from _calls import report
from singer_sdk import RESTStream, Tap
from singer_sdk import typing as th

from turvo_session import TurvoAuth
from turvo_session.testing import FakeTurvo

PACKAGE = "singer-sdk"
REQUIRES = ["singer-sdk"]
HOW = "`RESTStream.authenticator` returns the auth: healed 401"

turvo = FakeTurvo()


class Shipments(RESTStream[int]):
    """Turvo's shipments, one page."""

    name = "shipments"
    path = "/shipments/list"
    records_jsonpath = "$.details.shipments[*]"
    schema: ClassVar[dict[str, Any]] = th.PropertiesList(
        th.Property("id", th.IntegerType)
    ).to_dict()

    @property
    def url_base(self) -> str:
        """Where Turvo is."""
        return turvo.base_url

    @property
    def authenticator(self) -> Any:
        """What puts the token on each request."""
        return auth


class TapTurvo(Tap):
    """A tap with one stream."""

    name = "tap-turvo"
    config_jsonschema: ClassVar[dict[str, Any]] = th.PropertiesList().to_dict()

    def discover_streams(self) -> Iterable[Any]:
        """Return the only stream."""
        return [Shipments(self)]


if __name__ == "__main__":
    with turvo:
        auth = TurvoAuth.from_env(turvo.environ)
        stream = TapTurvo(config={}).streams["shipments"]
        counts = [len(list(stream.get_records(None)))]
        turvo.revoke()
        counts.append(len(list(stream.get_records(None))))
        logins = turvo.logins
    sys.exit(report(counts == [24, 24] and logins == 2, f"{counts}, {logins} logins"))
