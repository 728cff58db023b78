"""Forward every shipment that is en route, once, to a webhook or to stdout.

    export TURVO_API_KEY=... TURVO_USERNAME=... TURVO_PASSWORD=... REDIS_URL=...
    python examples/poller.py --webhook https://tms.example/hook
    python examples/poller.py --once >> shipments.jsonl
    python examples/poller.py --demo

The first command polls every 15 minutes until you stop it. The second one is for cron.
The third one shows how it works, without an account.

What is forwarded: one JSON object per shipment, with its id, customer, carrier, the
driver's phone, and the next open delivery with its appointment and ETA. The webhook
gets all new shipments of a poll in one POST, {"shipments": [...]}. It must answer with
a status from 200 to 299 within 60 seconds. The rest of its answer is ignored, and a
redirect is not followed.

What happens next: a shipment that was forwarded is marked in Redis. The mark lasts two
days; if the shipment is still en route then, it is forwarded again with its new ETA. If
a shipment cannot be read, or if the webhook refuses it (400, 413 or 422), stderr names
it, all others go out, and the next poll tries it again. If Turvo, Redis or the webhook
is down, stderr says so, and the first poll that works makes up for it.

When a shipment can come twice: the webhook took it, but its answer came too late or not
at all. The poller was killed before it could set the mark (the shipment comes again
after two minutes). Redis lost its data: a poller that runs sets its own marks again,
but not those of others. Two pollers wrote to the same file while the disk was full.

Any number of pollers can share a Redis and a --prefix: each shipment is forwarded by
one of them. Without REDIS_URL a poller knows only what it has forwarded itself since it
was started.

To stop it, press Ctrl-C or send SIGTERM. It ends within ten seconds, with nothing half
done. The exit code is 0 if all is done or it was stopped, 1 if something is left for
the next poll, 2 if the settings or arguments are wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import stat
import sys
from collections import Counter, deque
from collections.abc import Callable
from functools import partial

import redis
import requests
from ledger import Ledger
from schedule import Stop, Stopped, poll_moments, time_limit
from screen import WEBHOOK_STATUSES, Lines, explain_error, http_status_of, open_screen
from shipments import Shipment, summary

from turvo_session import SettingsError, TurvoAuth, TurvoSession

EN_ROUTE = "2105"

FORWARD_SECONDS = 60.0
"""How long it may take to forward one batch, the webhook's answer included."""

REFUSALS = (400, 413, 422)
"""Statuses by which a webhook refuses what a batch holds, or its size."""

FAILURES_IN_A_ROW = 3
"""So many shipments cannot be read before Turvo is taken to be in trouble."""

REFUSED_FROM_THE_START = 10
"""So many shipments are refused, and none is taken, before a poll gives up."""

ODD_ANSWER = (AttributeError, LookupError, TypeError, ValueError)
TURVO_TROUBLE = (requests.RequestException, *ODD_ANSWER)


class Poller:
    """Reads the shipments that are en route, and forwards those that are new.

    ``forward`` takes a batch and raises ``OSError`` if it did not work (every
    ``requests`` error is one).
    """

    def __init__(
        self,
        session: TurvoSession,
        ledger: Ledger,
        forward: Callable[[list[Shipment]], None],
        screen: Lines,
        stop: Stop,
    ) -> None:
        self.session = session
        self.ledger = ledger
        self.forward = forward
        self.screen = screen
        self.stop = stop
        self.polls = 0
        self.complete = True
        self.failures: Counter[int] = Counter()
        self.refusals: Counter[int] = Counter()
        self.refused_from_the_start = 0

    def poll(self) -> bool:
        """Poll once. Return ``False`` if something is left; the screen says what."""
        self.polls += 1
        self.complete = True
        try:
            with self.stop.dropping_work():
                self.ledger.repeat_marks()
                ids = self.list_en_route()
                self.forget_all_but(ids)
                new = self.ledger.find_new_ids(ids)
                found = self.read_shipments(new)
            forwarded = self.forward_all(found)
        except Stopped:
            return True
        except redis.RedisError as error:
            reason = explain_error(error)
            self.screen.say(f"Redis: {reason}; nothing is forwarded until it is back")
            return False
        except TURVO_TROUBLE as error:
            self.screen.say(f"Turvo: {explain_error(error)}; this poll is left out")
            return False
        logins = self.session.auth.stats.logins
        saved = max(0, self.polls - logins)
        self.screen.end_of_poll(len(ids), forwarded, logins, saved)
        return self.complete or self.stop.asked

    def list_en_route(self) -> list[int]:
        """Return the ids of all shipments that are en route."""
        filters = {"status[eq]": EN_ROUTE}
        rows = self.session.records("/shipments/list", "shipments", filters)
        return [row["id"] for row in rows if row.get("id")]

    def forget_all_but(self, ids: list[int]) -> None:
        """Forget the trouble with shipments that are not en route any more."""
        present = set(ids)
        for trouble in (self.failures, self.refusals):
            for shipment_id in trouble.keys() - present:
                del trouble[shipment_id]

    def read_shipments(self, ids: list[int]) -> list[Shipment]:
        """Read shipments. Those that failed before come last, and hold up no others."""
        found: list[Shipment] = []
        in_a_row = 0
        in_order = sorted(ids, key=self.failures.__getitem__)
        for shipment_id in self.screen.track_reading(in_order):
            try:
                found.append(self.read_shipment(shipment_id))
                in_a_row = 0
                del self.failures[shipment_id]
            except TURVO_TROUBLE as error:
                self.leave_for_later(f"shipment {shipment_id}: {explain_error(error)}")
                self.failures[shipment_id] += 1
                in_a_row += 1
            if in_a_row == FAILURES_IN_A_ROW:
                break
        return found

    def read_shipment(self, shipment_id: int) -> Shipment:
        """Return the summary of a shipment. Raise ``ValueError`` if it is another's."""
        details = self.session.details(f"/shipments/{shipment_id}")
        if str(details.get("id")) != str(shipment_id):
            raise ValueError("the answer is about another shipment")
        return {**summary(details), "id": shipment_id}

    def forward_all(self, found: list[Shipment]) -> int:
        """Forward shipments; return how many went out.

        Those that the webhook has refused before go alone, after the others.
        """
        by_refusals = sorted(found, key=self.refusal_count)
        others = [each for each in by_refusals if not self.refusal_count(each)]
        refused = [[each] for each in by_refusals if self.refusal_count(each)]
        waiting = deque([others, *refused])
        self.refused_from_the_start = 0
        forwarded = 0
        try:
            while waiting and not self.stop.asked:
                forwarded += self.forward_or_halve(waiting)
                if forwarded:
                    self.refused_from_the_start = 0
        except OSError as error:
            left = sum(len(batch) for batch in waiting)
            reason = explain_error(error, WEBHOOK_STATUSES)
            self.leave_for_later(f"{left} not forwarded: {reason}")
            if isinstance(error, BrokenPipeError):
                # Nobody reads stdout any more.
                sys.exit(1)
        return forwarded

    def refusal_count(self, shipment: Shipment) -> int:
        """Return how often the webhook has refused a shipment."""
        return self.refusals[shipment["id"]]

    def forward_or_halve(self, waiting: deque[list[Shipment]]) -> int:
        """Forward the first batch, or put its halves in its place if it is refused.

        So the shipments are found that it is refused for, and all others go out.
        """
        batch = waiting[0]
        halves: list[list[Shipment]] = []
        forwarded = 0
        try:
            forwarded = self.forward_batch(batch)
        except requests.HTTPError as error:
            if http_status_of(error) not in REFUSALS:
                raise
            if len(batch) == 1:
                self.note_refusal(batch[0], error)
            else:
                middle = len(batch) // 2
                halves = [batch[middle:], batch[:middle]]
        waiting.popleft()
        waiting.extendleft(halves)
        return forwarded

    def forward_batch(self, batch: list[Shipment]) -> int:
        """Claim a batch, forward it, mark it; return how many shipments that were.

        Shipments that another poller has claimed are left to it. If forwarding fails,
        the claims are given back.
        """
        claimed = set(self.ledger.take_claims(shipment["id"] for shipment in batch))
        own = [shipment for shipment in batch if shipment["id"] in claimed]
        if not own:
            return 0
        try:
            self.forward(own)
        except OSError:
            self.ledger.release_claims(claimed)
            raise
        self.ledger.mark_forwarded(own)
        self.screen.show_forwarded(own)
        for shipment in own:
            del self.refusals[shipment["id"]]
        return len(own)

    def note_refusal(self, shipment: Shipment, error: requests.HTTPError) -> None:
        """Note that the webhook refuses a shipment. Raise if it refuses all of them."""
        self.refusals[shipment["id"]] += 1
        self.refused_from_the_start += 1
        if self.refused_from_the_start == REFUSED_FROM_THE_START:
            raise error
        reason = explain_error(error, WEBHOOK_STATUSES)
        self.leave_for_later(f"shipment {shipment['id']}: {reason}")

    def leave_for_later(self, trouble: str) -> None:
        """Leave what the trouble is about for the next poll, and say so."""
        self.complete = False
        self.screen.say(f"{trouble}; left for the next poll")


class StdoutLines:
    """Forwards to stdout: a JSON line per shipment, past all buffers.

    A batch is written as a whole. What a full disk has cut off is taken back from a
    file; elsewhere the next batch begins on a new line.
    """

    def __init__(self) -> None:
        self.torn = False

    def __call__(self, batch: list[Shipment]) -> None:
        lines = [json.dumps(shipment) for shipment in batch]
        if self.torn:
            lines.insert(0, "")
        data = "\n".join([*lines, ""]).encode()
        descriptor = sys.stdout.fileno()
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        start = os.lseek(descriptor, 0, os.SEEK_END) if is_file else 0
        written = 0
        try:
            with time_limit(FORWARD_SECONDS):
                while written < len(data):
                    written += os.write(descriptor, data[written:])
        except OSError:
            end = start + written
            # Another size means that somebody else has written to the same file.
            if is_file and os.fstat(descriptor).st_size == end:
                os.ftruncate(descriptor, start)
                os.lseek(descriptor, start, os.SEEK_SET)
            elif written:
                self.torn = True
            raise
        self.torn = False


def to_webhook(
    url: str, batch: list[Shipment], seconds: float = FORWARD_SECONDS
) -> None:
    """Send a batch in one POST. Raise an ``OSError`` if the status is not 2xx.

    The rest of the answer is not read, so it may be of any size. A redirect is not
    followed: a login page would answer 200.
    """
    with (
        time_limit(seconds),
        requests.post(
            url,
            json={"shipments": batch},
            timeout=(3.05, 30),
            allow_redirects=False,
            stream=True,
        ) as response,
    ):
        if not 200 <= response.status_code < 300:
            raise requests.HTTPError(response=response)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return the arguments, or end with a message and exit code 2."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--every",
        type=float,
        default=15,
        metavar="MINUTES",
        help="minutes between two polls; default: 15",
    )
    parser.add_argument("--once", action="store_true", help="poll once, then end")
    parser.add_argument(
        "--webhook",
        metavar="URL",
        help="where to send the shipments; default: JSON lines on stdout",
    )
    parser.add_argument(
        "--prefix",
        default="turvo",
        help="what the keys in Redis begin with; default: turvo",
    )
    parser.add_argument(
        "--demo",
        action="store_true",
        help="show a day of polls in 20 seconds, with a local Turvo",
    )
    arguments = parser.parse_args(argv)
    if not 0 < arguments.every <= 7 * 24 * 60:
        parser.error("--every must be more than 0 minutes, and a week at most")
    if arguments.webhook and not arguments.webhook.startswith(("http://", "https://")):
        parser.error("--webhook must be a URL that starts with http:// or https://")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Run the poller; return the exit code."""
    arguments = parse_arguments(argv)
    if arguments.demo:
        import demo

        return demo.main()
    elsewhere = arguments.webhook or not sys.stdout.isatty()
    screen = open_screen(table=bool(elsewhere))
    try:
        session = TurvoSession(TurvoAuth.from_env())
    except SettingsError as error:
        screen.say(str(error))
        return 2
    stop = Stop.on_signals()
    ledger = Ledger(os.environ.get("REDIS_URL"), arguments.prefix)
    forward: Callable[[list[Shipment]], None] = StdoutLines()
    if arguments.webhook:
        forward = partial(to_webhook, arguments.webhook)
    poller = Poller(session, ledger, forward, screen, stop)
    if arguments.once:
        return 0 if poller.poll() else 1
    for _ in poll_moments(arguments.every * 60, stop):
        poller.poll()
    return 0


if __name__ == "__main__":
    sys.exit(main())
