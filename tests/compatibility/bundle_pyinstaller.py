"""A one-file program of PyInstaller, with REDIS_URL set."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from _bundles import PROGRAM, shares
from _calls import report

PACKAGE = "PyInstaller"
REQUIRES = ["pyinstaller"]
HOW = "a `--onefile` program shares its token through Redis"
SEPARATE = True  # it collects what is installed, and the tests' packages are large

COMMAND = [sys.executable, "-m", "PyInstaller", "--onefile", "--log-level=ERROR"]


def main() -> int:
    """Return 0 if the program works."""
    with tempfile.TemporaryDirectory() as folder:
        places = [f"--distpath={folder}", f"--specpath={folder}"]
        command = [*COMMAND, *places, f"--workpath={folder}/work", str(PROGRAM)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            return report(False, made.stderr.strip() or "PyInstaller said nothing")
        return shares(str(Path(folder) / "_program"))


if __name__ == "__main__":
    sys.exit(main())
