"""The trace of a run in words: when, which process, what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from turvo_session.tokens import parse_object

if TYPE_CHECKING:
    from .world import World

MOST_LINES = 400
"""Lines of a trace that are shown: the last ones."""


def describe_run(world: World) -> str:
    """Return the trace of a world, one step a line."""
    entries = world.trace[-MOST_LINES:]
    lines = []
    if len(entries) < len(world.trace):
        lines.append(f"... {len(world.trace) - len(entries)} earlier lines")
    for moment, name, what in entries:
        text = what
        if isinstance(what, tuple):
            text = _describe_step(*what)
        lines.append(f"{moment - world.started:10.3f}  {name:11}  {text}")
    return "\n".join(lines)


def _describe_step(step: str, result: Any) -> str:
    """Return a step and what the process learned from it."""
    if step == "read":
        return f"read: {_describe_values(*result[0])}"
    if step == "swap":
        applied, lost = result
        text = "swap: applied" if applied else "swap: refused, something has changed"
        return f"{text}, the command was {lost}" if lost else text
    if step == "request":
        secret, good = result
        return f"request with {secret}: {'accepted' if good else 401}"
    if step == "wait":
        return f"wait: at most {result:.3f} s"
    if result is None:
        return step
    return f"{step}: {result}"


def _describe_values(
    token: tuple[bytes, float] | None,
    lease: tuple[bytes, float] | None,
    history: tuple[bytes, float] | None,
) -> str:
    """Return the three values of a store in words."""
    words = []
    if token:
        secret = parse_object(token[0]).get("access_token")
        words.append(f"{secret} ({token[1]:.3f} s)")
    if lease:
        number = int(lease[0][:8], 16)
        words.append(f"lease of process {number} ({lease[1]:.3f} s)")
    if history:
        words += _describe_history(*history)
    return ", ".join(words) or "nothing"


def _describe_history(value: bytes, end: float) -> list[str]:
    """Return what a history remembers and still applies."""
    fields = parse_object(value)
    words = []
    for record in fields["records"]:
        left = end - record["left"]
        if left > 0:
            words.append(f"{record['kind']} (step {record['step']}, {left:.3f} s)")
    if fields["attempts"]:
        words.append(f"{len(fields['attempts'])} attempts")
    if end > fields["refill"]:
        words.append(f"refill in {end - fields['refill']:.3f} s")
    doubted, before_end = fields["doubted"]
    if end > before_end:
        words.append(f"{doubted} doubted for {end - before_end:.3f} s")
    return words
