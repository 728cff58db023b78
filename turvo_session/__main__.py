"""The command line: ``turvo-session``, or ``python -m turvo_session``.

It takes its settings from the environment, because every user of a machine can read
the arguments of a process. It prints no secret; only ``token`` prints the token.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

import requests

from . import __version__, settings
from .auth import TurvoAuth
from .errors import (
    CredentialsRejected,
    SettingsError,
    TurvoAuthError,
    TurvoResponseError,
)
from .events import logger
from .failure import MOST_ATTEMPTS, REJECTED
from .origin import shown_origin
from .session import TurvoSession, list_names, read_answer
from .source import FailureStatus, TokenStatus
from .text import printable, quoted

DONE = 0
FAILED = 1
WRONG_SETTINGS = 2
CREDENTIALS_REJECTED = 3

DEEPEST_ANSWER = 100
"""Levels of nested JSON that ``get`` prints."""

_DESCRIPTION = """\
Call Turvo's API from the shell, with the login that your scripts share through Redis.
"""
_EPILOG = f"""\
environment:
  required  TURVO_API_KEY, TURVO_USERNAME, TURVO_PASSWORD
  Turvo     TURVO_BASE_URL (default: {settings.DEFAULT_BASE_URL}),
            TURVO_CLIENT_ID, TURVO_CLIENT_SECRET (by default those of all Turvo users)
  sharing   REDIS_URL (without it, every command logs in anew),
            TURVO_TOKEN_KEY (the key in Redis), TURVO_TOKEN_ENCRYPTION_KEYS
            (Fernet keys, separated by commas; the first one encrypts)
  files     TURVO_API_KEY_FILE, TURVO_PASSWORD_FILE, TURVO_CLIENT_SECRET_FILE,
            REDIS_URL_FILE, TURVO_TOKEN_ENCRYPTION_KEYS_FILE: the path of a file that
            holds the value

examples:
  turvo-session sandbox
  turvo-session login
  turvo-session status --json
  turvo-session get /shipments/list -p "status[eq]=2105" --all
  printf 'Authorization: Bearer %s\\nx-api-key: %s\\n' \\
    "$(turvo-session token)" "$TURVO_API_KEY" | curl -H @- ...

exit codes:
  0    done; for status: a token is shared, or can be, or REDIS_URL is not set
  1    Turvo answered with an error, or Turvo, Redis or the network cannot be reached;
       for status: no token can be shared
  2    the command line or the settings are wrong
  3    Turvo rejected the credentials: fix them before the next try, because Turvo
       locks an account after ten wrong passwords
  130  ended by Ctrl-C (143: by SIGTERM; 141: the reader of the output has gone)
"""
_STATUS_HELP = (
    "Show the settings, the token, the store and the failed logins, and test whether "
    "Redis can be written. Never logs in."
)
_LOGIN_HELP = (
    "Log in now, whatever is remembered of failed logins: test the credentials, and "
    "store the new token."
)
_TOKEN_HELP = "Print the token and nothing else. Log in if there is none."
_FORGET_HELP = (
    "Delete the shared token and what is remembered of failed logins. Running "
    "processes go on with the token that they have."
)
_GET_HELP = "Send a GET to Turvo and print the answer as JSON."
_SANDBOX_HELP = "Run a local Turvo with invented shipments until Ctrl-C."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    ``argv``: the arguments; ``None`` stands for those of the process.
    """
    args = _make_parser().parse_args(argv)
    try:
        with _log_on_stderr(verbose="verbose" in args):
            code: int = args.run(args)
            sys.stdout.flush()
            return code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The interpreter would try to write the rest at its exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (OSError, ValueError) as error:
        # Every error of requests is an OSError. It raises a bare ValueError where a
        # server redirects to a malformed URL.
        _write_to_stderr(_explanation(error))
        return _exit_code(error)


def _explanation(error: OSError | ValueError) -> str:
    """Return the text of an error, fit for a terminal."""
    if isinstance(error, TurvoAuthError | TurvoResponseError | requests.HTTPError):
        return str(error)
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        # The error's own text describes the inside of urllib3.
        return (
            f"no answer from {_server_of(error)} ({type(error).__name__}); "
            "check TURVO_BASE_URL, the network and the proxy settings"
        )
    # The text can repeat what a server sent, such as a Location.
    return printable(error)


def _server_of(error: requests.RequestException) -> str:
    """Return the origin of the request that failed."""
    return shown_origin(str(error.request.url)) if error.request else "Turvo"


def _exit_code(error: Exception) -> int:
    """Return the exit code of a command that failed.

    A ``ValueError`` of ``requests`` is a wrong setting or a wrong URL.
    """
    if isinstance(error, CredentialsRejected):
        return CREDENTIALS_REJECTED
    if isinstance(error, requests.RequestException) and isinstance(error, ValueError):
        return WRONG_SETTINGS
    return FAILED


@contextmanager
def _log_on_stderr(*, verbose: bool) -> Iterator[None]:
    """Write the warnings of the library to stderr; all of its log if ``verbose``."""
    handler = logging.StreamHandler()
    level = logger.level
    if verbose:
        logger.setLevel(logging.INFO)
        text = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    else:
        # A failed login ends the command with an error that says the same.
        handler.addFilter(_is_not_repeated)
        text = "turvo-session: %(message)s"
    handler.setFormatter(logging.Formatter(text))
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _is_not_repeated(record: logging.LogRecord) -> bool:
    return getattr(record, "turvo_event", "") != "LoginFailed"


# The commands


def _command_status(args: argparse.Namespace) -> int:
    """Print the settings and the state of the token; the exit code is its health.

    The names of the JSON are those of ``TokenStatus``, and stay.
    """
    names = settings.ALL_VARIABLES
    present = [name for name in names if os.environ.get(name)]
    missing = [name for name in names if not _is_set(name)]
    report: dict[str, Any] = {
        "set": present,
        "not_set": [name for name in missing if not name.endswith("_FILE")],
        "wrong": None,
        "base_url": None,
        "token": None,
    }
    status = None
    try:
        auth = TurvoAuth.from_env()
        status = auth.status(try_write=True)
    except SettingsError as error:
        report["wrong"] = str(error)
    else:
        report["base_url"] = auth.base_url
        report["token"] = asdict(status)
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        _print_table(_status_rows(report, status))
    return _health_code(status)


def _is_set(name: str) -> bool:
    """Return whether a variable is set, by itself or through a file."""
    return bool(os.environ.get(name) or os.environ.get(f"{name}_FILE"))


def _health_code(status: TokenStatus | None) -> int:
    """Return the exit code of ``status``: whether a token is shared, or can be."""
    if status is None:
        return WRONG_SETTINGS
    if any(failure.kind == REJECTED and failure.mine for failure in status.failures):
        return CREDENTIALS_REJECTED
    if status.store_reachable is None:
        return DONE
    if not (status.store_reachable and status.store_writable):
        return FAILED
    may_log_in = status.failure is None and status.attempts_spent < MOST_ATTEMPTS
    return DONE if status.fingerprint or may_log_in else FAILED


def _command_login(args: argparse.Namespace) -> int:
    """Log in, and print where the token is shared."""
    auth = TurvoAuth.from_env()
    token = auth.login(force=args.force)
    status = auth.status()
    where = f"shared in {status.store}"
    if status.store_reachable is None:
        where = "not shared, because REDIS_URL is not set"
    elif auth.stats.store_errors:
        where = "not shared, because Redis cannot be used"
    left = _time_in_words(status.seconds_left)
    print(f"logged in: token {token.fingerprint}, {left} left; {where}")
    return DONE


def _command_token(_: argparse.Namespace) -> int:
    """Print the token itself."""
    print(TurvoAuth.from_env().token().access_token)
    if sys.stdout.isatty():
        _write_to_stderr(
            "this is a secret; better pass it through a pipe, as the examples of "
            "turvo-session --help do"
        )
    return DONE


def _command_forget(_: argparse.Namespace) -> int:
    """Delete the token and the failures, and print what was deleted."""
    auth = TurvoAuth.from_env()
    status = auth.status()
    auth.forget()
    if auth.stats.store_errors:
        raise OSError("the token may still be in Redis; check REDIS_URL")
    if status.fingerprint:
        print(
            f"token {status.fingerprint} is forgotten; a running process that has it "
            "uses it until it expires or Turvo refuses it"
        )
    else:
        print("there is no readable token")
    if status.failures or status.attempts_spent:
        print("the remembered failed logins are forgotten as well")
    return DONE


def _command_get(args: argparse.Namespace) -> int:
    """Print what Turvo answers to a GET, or all rows of a list."""
    params: dict[str, list[str]] = {}
    for name, value in args.p:
        params.setdefault(name, []).append(value)
    with TurvoSession.from_env() as session:
        if args.all:
            answer: Any = _all_rows(session, args, params)
        else:
            answer = read_answer(session.get(args.path, params=params))
    print(as_json(answer))
    return DONE


def as_json(answer: Any) -> str:
    """Return an answer as text.

    Raises ``TurvoResponseError`` if it has more than 100 levels: each of them widens
    the lines, and too many of them exceed the recursion limit.
    """
    level = [answer]
    for _ in range(DEEPEST_ANSWER):
        level = [child for value in level for child in _children(value)]
    if level:
        raise TurvoResponseError("the answer is nested too deeply to be printed")
    return json.dumps(answer, indent=2)


def _children(value: Any) -> Iterable[Any]:
    """Return the values in an object or an array of JSON."""
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _all_rows(
    session: TurvoSession, args: argparse.Namespace, params: Mapping[str, list[str]]
) -> list[Any]:
    """Return all rows of the list that ``--key`` names, or of the only one."""
    if "start" in params:
        args.fail("--all begins at the first row: leave out -p start=...")
    details = session.details(args.path, params={**params, "pageSize": "1"})
    lists = [name for name, value in details.items() if isinstance(value, list)]
    key = args.key
    if key is None and len(lists) == 1:
        key = lists[0]
    # Turvo leaves out a list without rows, so an answer without one is an empty list.
    if lists and key not in lists:
        args.fail(f"choose a list of the answer with --key: {list_names(details)}")
    return list(session.records(args.path, key or "", params))


def _command_sandbox(args: argparse.Namespace) -> int:
    """Run a ``FakeTurvo``, and print the lines that make a shell use it.

    They also unset what would lead a command to another Turvo or Redis.
    """
    from .testing import FakeTurvo

    with ExitStack() as stack:
        # Do this first, or a SIGTERM could end a listening server with a traceback.
        stack.enter_context(_sigterm_exits())
        try:
            turvo = stack.enter_context(FakeTurvo(port=args.port, seed=args.seed))
        except (OSError, ValueError) as error:
            args.fail(f"--port {args.port} cannot be used: {error}")
        _write_to_stderr(
            f"a local Turvo listens at {turvo.base_url} until Ctrl-C; "
            "in another terminal, run:"
        )
        others = [name for name in settings.ALL_VARIABLES if name not in turvo.environ]
        print("unset", *others)
        for name, value in turvo.environ.items():
            print(f"export {name}={shlex.quote(value)}")
        print('export NO_PROXY="127.0.0.1${NO_PROXY:+,$NO_PROXY}"', flush=True)
        while True:
            # A signal that arrives just before a sleep waits for its end.
            time.sleep(0.5)


@contextmanager
def _sigterm_exits() -> Iterator[None]:
    """Let SIGTERM end the block with exit code 143, so that the server is closed."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# What they print


def _status_rows(
    report: Mapping[str, Any], status: TokenStatus | None
) -> dict[str, str]:
    """Return the lines of ``status`` in words, by their headings."""
    rows = {
        "set": ", ".join(report["set"]) or "nothing",
        "not set": ", ".join(report["not_set"]) or "nothing",
    }
    if status is None:
        return {**rows, "wrong": report["wrong"]}
    failures = [_failure_in_words(failure) for failure in status.failures]
    return {
        **rows,
        "Turvo": report["base_url"],
        "token": _token_in_words(status),
        "store": f"{status.store} {_store_in_words(status)}",
        "failures": "\n".join(failures) or "none",
        "attempts": (
            f"{status.attempts_spent} of {MOST_ATTEMPTS} attempts spent that Turvo may "
            "have counted as wrong passwords"
        ),
    }


def _print_table(rows: Mapping[str, str]) -> None:
    for name, text in rows.items():
        first, *others = text.split("\n")
        print(f"{name:10}{first}")
        for line in others:
            print(f"{'':10}{line}")


def _token_in_words(status: TokenStatus) -> str:
    if not status.fingerprint:
        return "none"
    left = _time_in_words(status.seconds_left)
    return f"{status.fingerprint}, {status.state}, {left} left"


def _store_in_words(status: TokenStatus) -> str:
    """Return what is known of the store, to be read after its name."""
    if status.store_reachable is None:
        return "in this process only; set REDIS_URL to share the token"
    if not status.store_reachable:
        return "CANNOT be used; every process logs in by itself"
    found = f"answers in {1000 * (status.store_seconds or 0.0):.1f} ms"
    if not status.store_writable:
        return f"{found}, but CANNOT be written; every process logs in by itself"
    return f"{found} and can be written"


def _failure_in_words(failure: FailureStatus) -> str:
    """Return a line on a failed login. Its text may come from Redis, so quote it."""
    whom = "this process waits"
    if not failure.mine:
        whom = "other credentials or processes wait"
    left = _time_in_words(failure.seconds)
    return f"{failure.kind}: {quoted(failure.why)}; {whom} {left} more"


def _time_in_words(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _write_to_stderr(text: str) -> None:
    print(f"turvo-session: {text}", file=sys.stderr, flush=True)


# The arguments


def _make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line, with a parser for each command."""
    parser = argparse.ArgumentParser(
        "turvo-session",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = f"%(prog)s {__version__}"
    parser.add_argument("--version", action="version", version=version)
    _add_verbose(parser)
    group = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (run, text, add_arguments) in _COMMANDS.items():
        command = group.add_parser(name, help=text, description=text)
        command.set_defaults(run=run, fail=command.error)
        _add_verbose(command)
        if add_arguments is not None:
            add_arguments(command)
    return parser


def _add_verbose(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        # Without a value of its own, so that it counts before and after the command.
        default=argparse.SUPPRESS,
        help="write what the library does to stderr",
    )


def _add_status_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON, for scripts")


def _add_login_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--force",
        action="store_true",
        help="log in even if eight attempts have failed within 15 minutes; Turvo locks "
        "an account after ten wrong passwords",
    )


def _add_get_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "path", metavar="PATH", help="the path of a call, such as /shipments/list"
    )
    command.add_argument(
        "-p",
        metavar="NAME=VALUE",
        type=_name_and_value,
        action="append",
        default=[],
        help="a parameter of the query, such as status[eq]=2105; can be repeated",
    )
    command.add_argument(
        "--all",
        action="store_true",
        help="print the rows of all pages as one JSON list",
    )
    command.add_argument(
        "--key",
        help="with --all: the name of the list, if the answer has several",
    )


def _add_sandbox_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--port",
        type=int,
        default=0,
        metavar="N",
        help="the port to listen at (default: any free port)",
    )
    command.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="another number invents other shipments (default: 0)",
    )


def _name_and_value(text: str) -> tuple[str, str]:
    """Return the two sides of ``NAME=VALUE``; the value may hold another ``=``."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} must be NAME=VALUE")
    return name, value


_Run = Callable[[argparse.Namespace], int]
_AddArguments = Callable[[argparse.ArgumentParser], None]
_COMMANDS: dict[str, tuple[_Run, str, _AddArguments | None]] = {
    "status": (_command_status, _STATUS_HELP, _add_status_arguments),
    "login": (_command_login, _LOGIN_HELP, _add_login_arguments),
    "token": (_command_token, _TOKEN_HELP, None),
    "forget": (_command_forget, _FORGET_HELP, None),
    "get": (_command_get, _GET_HELP, _add_get_arguments),
    "sandbox": (_command_sandbox, _SANDBOX_HELP, _add_sandbox_arguments),
}


if __name__ == "__main__":
    sys.exit(main())
