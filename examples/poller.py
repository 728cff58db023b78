"""Forwards every shipment that is en route, once: as JSON lines on stdout, or in one POST a poll to a webhook.

    python examples/poller.py --webhook https://tms.example/hook    # every 15 minutes, until Ctrl-C or SIGTERM
    python examples/poller.py --once                                # for cron
    python examples/poller.py --demo                                # no credentials needed, only the extra `demo`

Settings: TURVO_API_KEY, TURVO_USERNAME, TURVO_PASSWORD, REDIS_URL. Exit codes: 0 all done, or stopped by a
signal; 1 something is left for the next poll, and stderr says why; 2 settings or arguments are wrong.

Any number of pollers may share a Redis and a prefix. One claims a shipment right before forwarding it, and marks
it for two days once that has worked; where it has not, the claim is given back. The claim of a poller that died
ends after two minutes, and the shipment is forwarded again: perhaps twice, never not at all. While Redis is
down nobody knows what the others forward: polls are left out, and the first one after makes up for them. Without
REDIS_URL a poller knows only what it has forwarded itself since it was started. A shipment that is on the road for
more than two days is forwarded again then, with the ETA that it has by that time.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import redis
import requests
from ledger import Ledger
from schedule import Stop, ticks
from screen import Lines, open_screen
from shipments import Shipment, detail, summary

from turvo_session import SettingsError, TurvoAuth, TurvoAuthError, TurvoResponseError, TurvoSession

EN_ROUTE = "2105"
FAILURES_IN_A_ROW = 3  # of single shipments; then it is Turvo that is in trouble
TROUBLE = (requests.RequestException, AttributeError, LookupError, TypeError, ValueError)  # also odd answers


@dataclass
class Poller:
    session: TurvoSession
    ledger: Ledger
    forward: Callable[[list[Shipment]], None]
    screen: Lines
    stop: Stop
    polls: int = 0
    failures: Counter[int] = field(default_factory=Counter)

    def poll(self) -> bool:
        """Forward what is new. False if something is left for the next poll; what, was said."""
        self.polls += 1
        try:
            self.ledger.tell()
            rows = self.session.records("/shipments/list", "shipments", {"status[eq]": EN_ROUTE})
            ids = [row["id"] for row in rows if row.get("id")]
            new = self.ledger.new(ids)
            found = self.details(new)
            forwarded = self.hand_over(found)
        except redis.RedisError as error:
            self.screen.say(f"Redis: {why(error)}; nothing more is forwarded until it is back")
            return False
        except TROUBLE as error:
            self.screen.say(f"Turvo: {why(error)}; this poll is left out")
            return False
        logins = self.session.auth.stats.logins
        self.screen.end_of_poll(len(ids), forwarded or 0, logins, max(0, self.polls - logins))
        return forwarded is not None and (len(found) == len(new) or self.stop.asked)

    def details(self, ids: list[int]) -> list[Shipment]:
        """What is to be forwarded. Shipments that failed before come last, and keep nobody waiting."""
        found: list[Shipment] = []
        in_a_row = 0
        for i in self.screen.each(sorted(ids, key=lambda i: self.failures[i])):
            if self.stop.asked or in_a_row == FAILURES_IN_A_ROW:
                break
            try:
                found.append(summary(detail(self.session, i)))
                in_a_row = 0
                del self.failures[i]
            except TROUBLE as error:
                self.screen.say(f"shipment {i}: {why(error)}; left for the next poll")
                in_a_row += 1
                self.failures[i] += 1
        return found

    def hand_over(self, found: list[Shipment]) -> int | None:
        """Claim, forward, mark. How many were forwarded; None if that failed."""
        claimed = self.ledger.claim(shipment["id"] for shipment in found)
        batch = [shipment for shipment in found if shipment["id"] in claimed]
        if not batch:
            return 0
        try:
            self.forward(batch)
        except OSError as error:  # every RequestException is one
            self.screen.say(f"{len(batch)} shipments not forwarded: {why(error)}; left for the next poll")
            self.ledger.release(claimed)
            if isinstance(error, BrokenPipeError):
                sys.exit(1)  # nobody reads stdout any more
            return None
        self.screen.show(batch)
        self.ledger.mark(batch)
        return len(batch)


def to_stdout(batch: list[Shipment]) -> None:
    """One JSON line a shipment, past all buffers."""
    data = "".join(json.dumps(shipment) + "\n" for shipment in batch).encode()
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]


def to_webhook(url: str, batch: list[Shipment]) -> None:
    """One POST. Only 2xx is success: a redirect to a login page, followed, would be a 200."""
    response = requests.post(url, json={"shipments": batch}, timeout=(3.05, 30), allow_redirects=False)
    if not 200 <= response.status_code < 300:
        raise requests.HTTPError(response=response)


def why(error: Exception) -> str:
    """An error in a few words without a secret: texts of other libraries may hold URLs and answers."""
    if isinstance(error, TurvoAuthError | TurvoResponseError):
        return str(error)
    name, response = type(error).__name__, getattr(error, "response", None)
    return getattr(error, "strerror", None) or (
        name if response is None else f"{name} {response.status_code}"
    )


def main(argv: list[str] | None = None) -> int:
    about = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=about)
    parser.add_argument("--every", type=float, default=15, metavar="MINUTES", help="default: 15")
    parser.add_argument("--once", action="store_true", help="poll once and end")
    parser.add_argument("--webhook", metavar="URL", help="default: JSON lines on stdout")
    parser.add_argument("--prefix", default="turvo", help="of the keys in Redis; default: turvo")
    parser.add_argument("--demo", action="store_true", help="a day of polls in 20 seconds, on a local Turvo")
    asked = parser.parse_args(argv)
    if not 0 < asked.every <= 7 * 24 * 60:
        parser.error("--every: more than 0 minutes, and a week at most")
    if asked.webhook and not asked.webhook.startswith(("http://", "https://")):
        parser.error("--webhook: a URL that starts with http:// or https://")
    if asked.demo:
        import demo

        return demo.main()
    screen = open_screen(table=bool(asked.webhook) or not sys.stdout.isatty())
    try:
        session = TurvoSession(TurvoAuth.from_env())
    except SettingsError as error:
        screen.say(str(error))
        return 2
    stop = Stop.on_signals()
    ledger = Ledger(os.environ.get("REDIS_URL"), asked.prefix)
    forward = partial(to_webhook, asked.webhook) if asked.webhook else to_stdout
    poller = Poller(session, ledger, forward, screen, stop)
    if asked.once:
        return 0 if poller.poll() else 1
    for _ in ticks(asked.every * 60, stop):
        poller.poll()
    return 0


if __name__ == "__main__":
    sys.exit(main())
