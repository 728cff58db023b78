"""What a poller says on stderr: lines for a log, or colours and tables for a person."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from turvo_session import TurvoAuthError, TurvoResponseError

COLUMNS = ("custom_id", "customer", "carrier", "driver_phone", "destination", "eta")

TURVO_STATUSES = {
    401: "Turvo refuses even a new token: may this user read shipments?",
    403: "Turvo forbids it: check TURVO_API_KEY and the rights of the user",
    404: "Turvo has no such shipment",
    429: "Turvo wants fewer requests: the next poll asks again",
}

WEBHOOK_STATUSES = {
    400: "the webhook does not accept the data",
    401: "the webhook wants other credentials",
    403: "the webhook forbids it",
    404: "the webhook has another address",
    413: "the batch is too large for the webhook",
    422: "the webhook does not accept the data",
    429: "the webhook wants fewer requests",
}

ERROR_MEANINGS = {
    "AuthenticationError": "the user or the password is refused",
    "BusyLoadingError": "it is still loading its data",
    "ChunkedEncodingError": "the answer broke off",
    "ConnectionError": "it cannot be reached",
    "ConnectTimeout": "it cannot be reached in time",
    "NoPermissionError": "this user may not run a command",
    "OutOfMemoryError": "it has no memory left",
    "ProxyError": "the proxy refuses the connection",
    "ReadOnlyError": "it can be read only",
    "ReadTimeout": "it does not answer in time",
    "SSLError": "its certificate is not trusted",
    "TimeoutError": "it does not answer in time",
}


class Lines:
    """One line for everything worth a line, as logs want it."""

    def say(self, text: str) -> None:
        """Report trouble in one line."""
        # A log on a full disk must not keep the shipments from going out.
        with suppress(OSError):
            print("poller:", printable_text(text), file=sys.stderr, flush=True)

    def track_reading(self, ids: list[int]) -> Iterable[int]:
        """Yield the shipments one by one while they are read."""
        return ids

    def show_forwarded(self, batch: list[dict[str, Any]]) -> None:
        """Show the shipments that were forwarded. A log has no room for them."""

    def end_of_poll(
        self, en_route: int, forwarded: int, logins: int, saved: int
    ) -> None:
        """Report a poll.

        ``saved``: how many logins a script without a shared token would have made
        beside those that were made: it makes one a poll.
        """
        self.say(
            f"{en_route} en route, {forwarded} forwarded; "
            f"logins so far: {logins}, saved: {saved}"
        )


class Screen(Lines):
    """The same for a person at a terminal; needs ``rich``.

    ``table``: whether to show the new shipments, because stdout goes elsewhere.
    """

    def __init__(self, *, table: bool) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False)
        self.table = table

    def say(self, text: str) -> None:
        """Report trouble in one yellow line."""
        self.console.print(styled_text(text, "yellow"))

    def track_reading(self, ids: list[int]) -> Iterable[int]:
        """Yield the shipments one by one, with a bar that goes along."""
        from rich.progress import track

        title = "Reading the new shipments"
        return track(ids, title, console=self.console, transient=True)

    def show_forwarded(self, batch: list[dict[str, Any]]) -> None:
        """Show the shipments that were forwarded as a table."""
        if not self.table:
            return
        from rich.table import Table

        table = Table(*COLUMNS, title=f"{len(batch)} new")
        for shipment in batch:
            table.add_row(*(styled_text(shipment[column]) for column in COLUMNS))
        self.console.print(table)

    def end_of_poll(
        self, en_route: int, forwarded: int, logins: int, saved: int
    ) -> None:
        """Report a poll in colours."""
        self.console.print(
            f"[bold]{en_route}[/] en route, [bold green]{forwarded}[/] forwarded; "
            f"logins so far: [bold]{logins}[/], saved: [bold green]{saved}[/]"
        )


def open_screen(*, table: bool) -> Lines:
    """Return a screen for a person if one is watching, else lines for a log."""
    if sys.stderr.isatty():
        # `rich` comes with the extra `demo`, and is not needed.
        with suppress(ImportError):
            return Screen(table=table)
    return Lines()


def explain_error(
    error: BaseException,
    statuses: dict[int, str] = TURVO_STATUSES,
) -> str:
    """Return what an error means, in one line and without a secret.

    ``statuses`` says what a status means. The texts of other libraries may hold URLs
    and answers, so they are not repeated.
    """
    if isinstance(error, TurvoAuthError | TurvoResponseError):
        return str(error)
    name = type(error).__name__
    status = http_status_of(error)
    if status:
        return f"HTTP {status}, {statuses.get(status, default_meaning(status))}"
    if name in ERROR_MEANINGS:
        return f"{ERROR_MEANINGS[name]} ({name})"
    reason = getattr(error, "strerror", None)
    return reason or f"the answer has an unknown form ({name})"


def http_status_of(error: BaseException) -> int:
    """Return the HTTP status that an error is about, or 0."""
    response = getattr(error, "response", None)
    return getattr(response, "status_code", 0)


def default_meaning(status: int) -> str:
    """Return what a status means at any server."""
    if status >= 500:
        return "the server is in trouble"
    if status >= 400:
        return "the request is refused"
    return "a redirect is not followed"


def printable_text(value: Any) -> str:
    """Return somebody else's text on one line, unable to control a terminal."""
    if value is None:
        return ""
    text = "".join(c if c.isprintable() else " " for c in str(value))
    return " ".join(text.split())


def styled_text(value: Any, style: str = "") -> Any:
    """Return such text for `rich`, with its square brackets as they are."""
    from rich.text import Text

    return Text(printable_text(value), style)
