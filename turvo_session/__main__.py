"""The command line: ``turvo-session``, or ``python -m turvo_session``.

It is told everything by the environment, so that no secret shows in a list of processes, and it
prints none, the standard output of ``token`` excepted.
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

import requests

from . import __version__, settings
from .auth import TurvoAuth
from .errors import CredentialsRejected, SettingsError, TurvoResponseError
from .events import Event, StoreFailed, ValueUnusable
from .origin import origin
from .session import TurvoSession, without_secrets
from .source import TokenStatus

_VARIABLES = (*settings.VARIABLES.values(), *settings.STORE_VARIABLES)
_DESCRIPTION = "Turvo's API from the shell: the same login, shared by the same Redis, as in your scripts."
_EPILOG = f"""\
environment:
  needed   TURVO_API_KEY, TURVO_USERNAME, TURVO_PASSWORD
  Turvo    TURVO_BASE_URL (default: {settings.DEFAULT_BASE_URL}),
           TURVO_CLIENT_ID, TURVO_CLIENT_SECRET (defaults: the same for all of Turvo's clients)
  sharing  REDIS_URL (without it every command logs in anew), TURVO_TOKEN_KEY (where in Redis),
           TURVO_TOKEN_ENCRYPTION_KEYS (Fernet keys, comma-separated; the first one writes)

examples:
  turvo-session sandbox
  turvo-session status --json
  turvo-session get /shipments/list -p "status[eq]=2105" --all
  printf 'Authorization: Bearer %s\\nx-api-key: %s\\n' "$(turvo-session token)" "$TURVO_API_KEY" |
    curl -H @- ...

exit codes:
  0    done
  1    Turvo answered with an error, or Turvo, Redis or the network could not be reached
  2    the command line or the settings are wrong
  3    Turvo rejected the credentials: mend them first, it locks an account after ten tries
       (without REDIS_URL nothing keeps a loop of commands from making them)
  130  ended by Ctrl-C (143: by SIGTERM; 141: whoever read the output stopped reading)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. ``argv``: the arguments, those of the process by default."""
    args = _parser().parse_args(argv)
    if "verbose" in args:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Else the interpreter would try again to write what is left, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (requests.ConnectionError, requests.Timeout) as error:  # the text is of the insides of urllib3
        where = origin(str(error.request.url)) if error.request else None
        server = "{}://{}:{}".format(*where) if where else "Turvo"
        _say(f"no answer from {server} ({type(error).__name__}); check TURVO_BASE_URL, the network, proxies")
        return 1
    except OSError as error:  # every error of requests is one, and therefore every one of ours
        _say(str(error))
        return 3 if isinstance(error, CredentialsRejected) else 2 if isinstance(error, ValueError) else 1
    return code


def _status(args: argparse.Namespace) -> int:
    report: dict[str, Any] = {
        "set": [name for name in _VARIABLES if os.environ.get(name)],
        "not_set": [name for name in _VARIABLES if not os.environ.get(name)],
        **dict.fromkeys(("wrong", "base_url", "token")),
    }
    try:
        auth = _auth()
        report |= {"base_url": auth.base_url, "token": asdict(auth.status())}
    except SettingsError as error:
        report["wrong"] = str(error)
    print(json.dumps(report, indent=2) if args.json else _in_words(report))
    return 2 if report["wrong"] else 0


def _token(_: argparse.Namespace) -> int:
    print(_auth().token().access_token)
    if sys.stdout.isatty():
        _say("this is a secret; better hand it to a pipe, as in the examples of turvo-session --help")
    return 0


def _forget(_: argparse.Namespace) -> int:
    auth = _auth()
    token = auth.status().fingerprint
    auth.forget()
    if auth.stats.store_errors:
        raise OSError("the token may still be there; check REDIS_URL")
    print(
        f"token {token} is forgotten; a process that runs uses it until it ends or Turvo refuses it"
        if token
        else "there is no token that can be read"
    )
    return 0


def _get(args: argparse.Namespace) -> int:
    params = {name: [value for other, value in args.p if other == name] for name, _ in args.p}
    with TurvoSession(_auth()) as session:
        answer = _all(session, args, params) if args.all else _checked(session.get(args.path, params=params))
    print(json.dumps(answer, indent=2))
    return 0


def _sandbox(args: argparse.Namespace) -> int:
    from .testing import FakeTurvo

    with ExitStack() as stack:
        stack.enter_context(_ended_by_sigterm())  # before anybody can see that it listens
        try:
            turvo = stack.enter_context(FakeTurvo(port=args.port, seed=args.seed))
        except (OSError, OverflowError) as error:
            args.fail(f"--port {args.port} cannot be used: {error}")
        _say(f"a local Turvo is at {turvo.base_url} until Ctrl-C. In another terminal:")
        print("unset", *(name for name in _VARIABLES if name not in turvo.environ))
        for name, value in turvo.environ.items():
            print(f"export {name}={shlex.quote(value)}")
        print('export NO_PROXY="127.0.0.1${NO_PROXY:+,$NO_PROXY}"', flush=True)
        while True:
            time.sleep(0.5)  # a signal that comes just before a sleep waits for its end


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _all(session: TurvoSession, args: argparse.Namespace, params: Mapping[str, list[str]]) -> list[Any]:
    """The rows of all pages of a list: of the one that ``--key`` names, else of the only one."""
    if "start" in params:
        args.fail("--all begins at the start: leave out -p start=...")
    answer = _checked(session.get(args.path, params={**params, "pageSize": "1"}))
    lists = [name for name, value in _details(answer).items() if isinstance(value, list)]
    key = args.key or "|".join(lists)
    if lists and key not in lists:  # a list of Turvo's that has no rows is not there at all
        args.fail(f"choose a list of the answer: --key {'|'.join(lists)}")
    return list(session.records(args.path, key, params))


def _checked(response: requests.Response) -> Any:
    """The JSON of an answer; ``TurvoResponseError`` if it tells of an error, or is no JSON."""
    try:
        answer = response.json()
    except (ValueError, RecursionError):
        answer = None
    fields = answer if isinstance(answer, dict) else {}
    good = answer is not None and 200 <= response.status_code < 300
    if good and fields.get("Status", "SUCCESS") == "SUCCESS":
        return answer
    # No other part of an answer is shown: Turvo's `error_description` can hold the token.
    said = _details(answer).get("errorMessage") or fields.get("message")
    text = "without a message" if fields else "without JSON"
    if isinstance(said, str):
        text = repr(without_secrets(said, response))
    raise TurvoResponseError(f"{response.url} answered {response.status_code} {text}")


def _details(answer: Any) -> dict[str, Any]:
    details = answer.get("details") if isinstance(answer, dict) else None
    return details if isinstance(details, dict) else {}


def _auth() -> TurvoAuth:
    return TurvoAuth.from_env(on_event=_warn)


def _warn(event: Event) -> None:
    if isinstance(event, StoreFailed):
        _say(f"{event.store} is not reachable ({event.why}); check REDIS_URL")
    if isinstance(event, ValueUnusable):
        _say(f"{event.store} holds what is no token, or sealed with other TURVO_TOKEN_ENCRYPTION_KEYS")


def _say(text: str) -> None:
    print(f"turvo-session: {text}", file=sys.stderr, flush=True)


def _in_words(report: Mapping[str, Any]) -> str:
    rows = {name: ", ".join(report[name.replace(" ", "_")]) or "nothing" for name in ("set", "not set")}
    rows |= {"wrong": report["wrong"], "Turvo": report["base_url"]}
    if report["token"]:
        rows |= _token_in_words(TokenStatus(**report["token"]))
    return "\n".join(f"{name:9}{text}" for name, text in rows.items() if text)


def _token_in_words(status: TokenStatus) -> dict[str, str]:
    token, store, failure = "none", "in this process alone; set REDIS_URL to share the token", "none"
    if status.fingerprint:
        token = f"{status.fingerprint}, {status.state}, {_duration(status.seconds_left)} left"
    if status.store_reachable is False:
        store = "NOT reachable; every process logs in for itself"
    elif status.store_seconds is not None:
        store = f"reachable in {1000 * status.store_seconds:.1f} ms"
    if status.failure:
        failure = f"{status.failure}; in force for {_duration(status.failure_seconds)}"
    return {"token": token, "store": f"{status.store} {store}", "failure": failure}


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=VALUE")
    return name, value


_COMMANDS = {
    "status": (_status, "What is set, where the token is and how long it lives. Never logs in."),
    "token": (_token, "Print the token and nothing else, after a login if need be."),
    "forget": (_forget, "Drop the token from where it is shared; processes that have it go on with it."),
    "get": (_get, "Print what Turvo answers to a GET, as JSON."),
    "sandbox": (_sandbox, "Run a local Turvo with invented shipments, until Ctrl-C."),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("turvo-session", description=_DESCRIPTION, epilog=_EPILOG)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    group = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    commands = {}
    for name, (run, text) in _COMMANDS.items():
        commands[name] = command = group.add_parser(name, help=text, description=text)
        command.set_defaults(run=run, fail=command.error)
    for place in (parser, *commands.values()):
        place.add_argument(
            "-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help="log to stderr"
        )
    status, get, sandbox = (commands[name].add_argument for name in ("status", "get", "sandbox"))
    status("--json", action="store_true", help="as JSON, for scripts")
    get("path", metavar="PATH", help="below the base URL, such as /shipments/list")
    get("-p", metavar="NAME=VALUE", type=_pair, action="append", default=[], help="for the query")
    get("--all", action="store_true", help="the rows of all pages, as one JSON list")
    get("--key", help="with --all: the name of the list, where an answer holds several")
    sandbox("--port", type=int, default=0, metavar="N", help="where to listen (default: any free port)")
    sandbox("--seed", type=int, default=0, metavar="N", help="another number, other shipments (default: 0)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
