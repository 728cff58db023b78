"""Text from a server, made fit for a message, a log or a terminal.

Whatever Turvo, Redis or a redirect wrote may hold escape sequences, line ends that
forge a log line, or megabytes. It passes through here before anybody sees it.
"""

from __future__ import annotations

LONGEST = 200
"""The most characters of a server's text that a message shows."""

_READ = 4 * LONGEST


def quoted(value: object) -> str:
    """Return ``value`` in double quotes: printable, one line, at most 200 characters.

    Everything that is not printable (control characters, line ends, characters that
    change the writing direction) becomes a blank. ``bytes`` are read as UTF-8.
    """
    shown = printable(value, LONGEST - 2).replace('"', "'")
    return f'"{shown}"'


def printable(value: object, most: int = LONGEST) -> str:
    """Return ``value`` without quotes, otherwise as ``quoted`` does."""
    beginning = _first_characters(value)
    blanked = "".join(c if c.isprintable() else " " for c in beginning)
    shown = " ".join(blanked.split())
    if len(shown) > most:
        shown = shown[: most - 3] + "..."
    return shown


def _first_characters(value: object) -> str:
    """Return the first characters of the text of ``value``, whatever it is."""
    if isinstance(value, str):
        return value[:_READ]
    if isinstance(value, bytes):
        return value[:_READ].decode(errors="replace")
    try:
        return str(value)[:_READ]
    except (RecursionError, ValueError):
        # Lists of JSON can be nested too deep to be shown, and numbers too long.
        return f"<{type(value).__name__}>"
