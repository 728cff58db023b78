"""Takes guards out of the library one by one; the simulation has to notice each time.

``python -m tests.simulation.mutants [WORDS ...]`` copies the library and the simulation
to a temporary folder, changes one place of the copy, and runs there what the test suite
runs. With words it tries only the mutants whose guards contain one of them. It takes
some minutes, so it is not part of the suite. It ends with 1 if a mutant survives, if it
breaks the program instead of a promise, or if its place is no longer in the source.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
IGNORED = shutil.ignore_patterns("__pycache__")


@dataclass(frozen=True)
class Mutant:
    """One guard, and the change of the source that takes it out."""

    guard: str
    module: str
    old: str
    new: str


RELEASE = "RELEASE = Change(lease=None, wake=True)"
MUTANTS = (
    Mutant(
        "a waiter looks again before it logs in",
        "level",
        "                self._wait(seen, step, start)\n",
        "                self._wait(seen, step, start)\n"
        "                raise OutOfPatience\n",
    ),
    Mutant(
        "a write that was not applied is decided anew",
        "level",
        "            elif self._swap(seen, step.change):\n                return",
        "            else:\n                self._swap(seen, step.change)\n"
        "                return",
    ),
    Mutant(
        "a leader takes the lease",
        "renewal",
        "        return Write(Change(lease=Slot(ask.owner, lease)), step)\n",
        "        return step\n",
    ),
    Mutant(
        "a token ends the lease",
        "renewal",
        "return Change(token=value, lease=None, failure",
        "return Change(token=value, failure",
    ),
    Mutant(
        "a failure ends the lease",
        "renewal",
        "        return Write(Change(lease=None, failure=noted, wake=True), Fail",
        "        return Write(Change(failure=noted, wake=True), Fail",
    ),
    Mutant(
        "a lease ends soon after its leader died",
        "source",
        "lease_seconds = login.attempt_seconds + LEASE_MARGIN",
        "lease_seconds = 10 * login.attempt_seconds",
    ),
    Mutant(
        "a lease is extended for a further try",
        "source",
        "                level.attempt(rule, None)\n\n        start",
        "                assert rule\n\n        start",
    ),
    Mutant(
        "a lease that no process of ours wrote is ignored",
        "renewal",
        " or lease.left > LONGEST_LEASE:",
        ":",
    ),
    Mutant(
        "a leader that lost its lease overwrites no newer token",
        "renewal",
        "    newer = _newer(seen, ask, outcome)\n    if _led_by(seen, ask):",
        "    newer = _newer(seen, ask, outcome)\n    if True:",
    ),
    Mutant(
        "a stored token wakes the waiters",
        "renewal",
        "failure=kept.slot(), wake=True)",
        "failure=kept.slot())",
    ),
    Mutant(
        "a failure wakes the waiters",
        "renewal",
        "failure=history.slot(), wake=True)",
        "failure=history.slot())",
    ),
    Mutant(
        "a refused token is not adopted",
        "renewal",
        "        return any(\n            same_secret(token, refused)",
        "        return False and any(\n            same_secret(token, refused)",
    ),
    Mutant(
        "a failure is written for the others",
        "renewal",
        "        return Write(Change(lease=None, failure=noted, wake=True), Fail",
        "        return Write(Change(lease=None, wake=True), Fail",
    ),
    Mutant(
        "a rejection concerns the same credentials only",
        "failure",
        "            return self._proves(record, client)\n",
        "            return True\n",
    ),
    Mutant(
        "a process without a route concerns itself only",
        "failure",
        "            return record.process in",
        "            return True or record.process in",
    ),
    Mutant(
        "a process without a route is named in its record",
        "failure",
        "        return client.process if all(",
        "        return '' if all(",
    ),
    Mutant(
        "a foreign answer concerns the same token URL only",
        "failure",
        "        if record.left <= 0 or record.endpoint != client.endpoint:\n",
        "        if record.left <= 0:\n",
    ),
    Mutant(
        "the account has a budget of attempts",
        "failure",
        "        last = self.attempts_of(client)[-MOST_ATTEMPTS:]\n",
        "        last: list[Attempt] = []\n",
    ),
    Mutant(
        "a login does not overdraw the budget",
        "failure",
        "        left = max(1, MOST_ATTEMPTS - len(self.attempts_of(client)))\n",
        "        left = 8\n",
    ),
    Mutant(
        "a first rejection beside a good token counts for a minute",
        "failure",
        "        if had_token and all(",
        "        if False and all(",
    ),
    Mutant(
        "logins because of a 401 come out of a bucket",
        "failure",
        "        return self.refill <= LOGIN_COST * (MOST_LOGINS_AT_ONCE - 1)\n",
        "        return True\n",
    ),
    Mutant(
        "the bucket outlasts a token",
        "renewal",
        "    kept = History(refill=history.refill)\n",
        "    kept = History()\n",
    ),
    Mutant(
        "an accepted token is in doubt no longer",
        "renewal",
        "    if not history.doubts(token):\n        return None\n",
        "    return None\n",
    ),
    Mutant(
        "a process goes by what it has seen of a token",
        "renewal",
        "history.doubts(ask.refused) and not ask.known_good:",
        "history.doubts(ask.refused):",
    ),
    Mutant(
        "a failed login looks at the store once more",
        "level",
        " = self.attempt(partial(renewal.spot, ask=ask), None)\n",
        " = None\n",
    ),
    Mutant(
        "an interrupt gives the lease back",
        "level",
        "        if kind is not None and self._may_be_held:\n",
        "        if False:\n",
    ),
    Mutant(
        "an interrupt within the write gives the lease back",
        "level",
        "                self._may_be_held = True\n            return step\n\n"
        "        result: Outcome | Lead = self._level.carry_out(rule)\n",
        "                return step\n            return step\n\n"
        "        result: Outcome | Lead = self._level.carry_out(rule)\n"
        "        self._may_be_held = isinstance(result, Lead)\n",
    ),
    Mutant(
        "a due token serves where its renewal failed",
        "source",
        "        if isinstance(outcome, Fail):\n"
        "            return Adopt(ask.spare, outcome.record.left)\n",
        "",
    ),
    Mutant(
        "a failed renewal ahead of time has a pause",
        "renewal",
        "    hold = history.delay_of_due(ask.client)\n",
        "    hold = 0.0\n",
    ),
    Mutant(
        "others go on with a due token while one renews it",
        "renewal",
        "    if leader:\n        hold = max(hold, leader.left)\n",
        "",
    ),
    Mutant(
        "a token that is served again is used to its end",
        "renewal",
        "    if any(secret == token.access_token for token in known):\n",
        "    if False:\n",
    ),
    Mutant(
        "a short life has a short buffer",
        "renewal",
        "min(expiry_buffer, life / 10)",
        "expiry_buffer",
    ),
    Mutant(
        "a record that applies for too long is void",
        "failure",
        "left <= longest + TOLERANCE",
        "left <= 10**9",
    ),
    Mutant(
        "a failed login is remembered where the store cannot be used",
        "source",
        "        if not isinstance(lead, Lead):\n            return lead\n",
        "        lead = Lead(tries=3, may_count=2)\n",
    ),
    Mutant(
        "a token that is served again is used until it is surely over",
        "renewal",
        "grant.expires_in + 1.0",
        "grant.expires_in",
    ),
    Mutant(
        "a failed renewal ahead of time counts as long as the old token",
        "failure",
        "            if not record.soft and self.concerns(record, client)\n",
        "            if self.concerns(record, client)\n",
    ),
    Mutant(
        "earlier refused tokens are not adopted either",
        "renewal",
        "            for refused in (self.refused, *self.refused_before)\n",
        "            for refused in (self.refused,)\n",
    ),
    Mutant(
        "a token in doubt is kept by a process that has not seen it accepted",
        "renewal",
        "    if ask.refused and history.doubts(ask.refused) and",
        "    if False and",
    ),
    Mutant(
        "attempts at another token URL spend nobody else's budget",
        "failure",
        "[one for one in self.attempts if one.endpoint == client.endpoint]",
        "list(self.attempts)",
    ),
    Mutant(
        "the pauses of rejections grow",
        "failure",
        "        return max((old.step for old in earlier), default=0) + 1\n",
        "        return 1\n",
    ),
    Mutant(
        "a due token comes up with a failure that its store does not take",
        "source",
        "            return result._replace(took=took, spare=ask.spare)\n",
        "            return result._replace(took=took)\n",
    ),
    Mutant(
        "a due token that is found after a failed login does not hide the failure",
        "source",
        '        if found.token.state(self._clock()) == "due":\n',
        "        if False:\n",
    ),
    Mutant(
        "a caller that is out of patience counts its try first",
        "source",
        "(level, renewal.reserve)",
        "(level, renewal.permit)",
    ),
)


UNCHANGED = Mutant("none", "renewal", RELEASE, RELEASE)


def main(names: list[str]) -> int:
    """Try the mutants whose guards contain one of ``names``; return 1 if one lives."""
    survivors = 0
    verdict, promise = try_mutant(UNCHANGED)
    if verdict != "survived":
        print(f"the unchanged library was {verdict}: {promise}")
        return 1
    for mutant in MUTANTS:
        if names and not any(name in mutant.guard for name in names):
            continue
        start = time.monotonic()
        verdict, promise = try_mutant(mutant)
        survivors += verdict != "killed"
        seconds = time.monotonic() - start
        print(
            f"{verdict:9} {seconds:6.1f} s  {mutant.guard}\n{'':20}{promise}",
            flush=True,
        )
    print(f"{survivors} survived")
    return int(survivors > 0)


def try_mutant(mutant: Mutant) -> tuple[str, str]:
    """Return whether the simulation notices a mutant, and the promise that it broke."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("turvo_session", "tests/simulation"):
            shutil.copytree(ROOT / part, copy / part, ignore=IGNORED)
        module = copy / "turvo_session" / f"{mutant.module}.py"
        source = module.read_text()
        if source.count(mutant.old) != 1:
            return "not found", ""
        module.write_text(source.replace(mutant.old, mutant.new))
        ended = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--suite"],
            cwd=copy,
            capture_output=True,
            text=True,
            check=False,
        )
    lines = (ended.stdout + ended.stderr).splitlines() or [""]
    verdict = "survived"
    if ended.returncode:
        verdict = "killed" if "broke a promise" in lines[-1] else "crashed"
    return verdict, lines[-1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
