"""What a poller says on stderr: plain lines, or, on a terminal and with ``rich``, what a person wants to see."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

COLUMNS = ("custom_id", "customer", "carrier", "driver_phone", "destination", "eta")


class Lines:
    """One line for everything worth a line: for logs."""

    def say(self, text: str) -> None:
        """Trouble, in one line."""
        print("poller:", *text.split(), file=sys.stderr, flush=True)

    def each(self, ids: list[int]) -> Iterable[int]:
        """The ids, one by one, as they are worked off."""
        return ids

    def show(self, batch: list[dict[str, Any]]) -> None:
        """What was forwarded; whoever reads a log finds it there."""

    def end_of_poll(self, en_route: int, forwarded: int, logins: int, saved: int) -> None:
        """How it went. ``saved``: logins that a script without a cache would have made, one a poll."""
        self.say(f"{en_route} en route, {forwarded} forwarded; logins so far: {logins}, saved: {saved}")


class Screen(Lines):
    """Colours, a bar and a table; ``table``: the new shipments are not on this terminal anyhow."""

    def __init__(self, *, table: bool) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False)
        self.table = table

    def say(self, text: str) -> None:
        self.console.print(plain(text, "yellow"))

    def each(self, ids: list[int]) -> Iterable[int]:
        from rich.progress import track

        return track(ids, "Reading the new shipments", console=self.console, transient=True)

    def show(self, batch: list[dict[str, Any]]) -> None:
        if self.table:
            from rich.table import Table

            table = Table(*COLUMNS, title=f"{len(batch)} new")
            for shipment in batch:
                table.add_row(*(plain(shipment[column]) for column in COLUMNS))
            self.console.print(table)

    def end_of_poll(self, en_route: int, forwarded: int, logins: int, saved: int) -> None:
        self.console.print(
            f"[bold]{en_route}[/] en route, [bold green]{forwarded}[/] forwarded; "
            f"logins so far: [bold]{logins}[/], saved: [bold green]{saved}[/]"
        )


def open_screen(*, table: bool) -> Lines:
    """The best that there is here."""
    if sys.stderr.isatty():
        with suppress(ImportError):  # rich comes with the extra `demo`
            return Screen(table=table)
    return Lines()


def plain(value: Any, style: str = "") -> Any:
    """Somebody else's text, without the power to style or to move the cursor."""
    from rich.text import Text

    text = "" if value is None else str(value)
    return Text("".join(c if c.isprintable() else " " for c in text), style)
