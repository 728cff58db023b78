"""A cold login and a healed 401 in a vcrpy cassette, recorded and played back."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path

import requests
import vcr

from turvo_session import TurvoAuth
from turvo_session.testing import FakeTurvo

PACKAGE = "vcrpy"
REQUIRES = ["vcrpy"]
HOW = "cold login, healed 401, recorded and played back; see the filter lines"

README = Path(__file__).parents[2] / "README.md"


def recorder_of_the_readme() -> vcr.VCR:
    """Return the recorder that the filter lines of the README make."""
    pattern = r"^```text\n(def without_token.*?)^```"
    lines = re.search(pattern, README.read_text(), re.MULTILINE | re.DOTALL)
    assert lines, "the README has no filter lines"
    names = {"json": json, "vcr": vcr}
    exec(lines[1], names)
    return names["recorder"]


def get(recorder: vcr.VCR, cassette: Path, environ: dict[str, str]) -> tuple[int, int]:
    """Return the status of a GET by a new auth, and the logins that it took."""
    session = requests.Session()
    session.auth = auth = TurvoAuth.from_env(environ)
    with recorder.use_cassette(str(cassette)):
        answer = session.get(f"{auth.base_url}/shipments/list", timeout=5)
    return answer.status_code, auth.stats.logins


def main() -> int:
    """Return 0 if recording and playback heal a 401 and the cassette has no secret."""
    recorder = recorder_of_the_readme()
    with tempfile.TemporaryDirectory() as folder:
        cassette = Path(folder) / "cassette.yaml"
        with FakeTurvo() as turvo:
            turvo.fail_next(401)
            recorded = get(recorder, cassette, turvo.environ)
        played = get(recorder, cassette, turvo.environ)  # Turvo is gone
        text = " ".join(cassette.read_text().split())  # YAML folds long lines.
    secrets = [turvo.password, turvo.api_key, turvo.username, "3b_-"]
    leaked = [secret for secret in secrets if secret in text]
    print(f"status and logins: {recorded}, then {played}; in the cassette: {leaked}")
    return 0 if recorded == played == (200, 2) and not leaked else 1


if __name__ == "__main__":
    sys.exit(main())
