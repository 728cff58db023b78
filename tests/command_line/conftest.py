"""Runs commands in this process: ``run("status", REDIS_URL=...)``."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from turvo_session import login
from turvo_session.__main__ import main
from turvo_session.testing import FakeTurvo


class Result(NamedTuple):
    """The exit code of a command, and what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(
    turvo: FakeTurvo,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Callable[..., Result]]:
    """Run a command with the settings of the local Turvo and those that are given.

    No command shows a secret or a traceback. One that does not end is interrupted.
    """

    def run(*argv: str, **environ: str | None) -> Result:
        for name, value in {**turvo.environ, **environ}.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        signal.alarm(120)
        try:
            code: Any = main(argv)
        except SystemExit as end:  # argparse ends so
            code = end.code
        result = Result(code, *capsys.readouterr())
        secrets = {os.environ.get(f"TURVO_{name}") for name in ("API_KEY", "PASSWORD")}
        for seen in turvo.requests:
            secrets.update(seen.headers.get("authorization", "").split()[1:])
        shown = result.err if argv[:1] == ("token",) else result.out + result.err
        for secret in ({"redis-password", "Traceback"} | secrets) - {None}:
            assert str(secret) not in shown
        return result

    monkeypatch.setitem(dict(login.SLOW_HASHES)["scrypt"], "n", 2)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    yield run
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
