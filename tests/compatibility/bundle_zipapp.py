"""A zipapp: the program and all that it needs in one zip file, with REDIS_URL set."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipapp
from pathlib import Path

from _bundles import PROGRAM, shares

PACKAGE = "zipapp"
REQUIRES: list[str] = []
HOW = "a `.pyz` with all it needs shares its token through Redis"

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Return 0 if the bundle works where nothing is installed."""
    with tempfile.TemporaryDirectory() as folder:
        content, bundle = Path(folder) / "content", Path(folder) / "program.pyz"
        pip = [sys.executable, "-m", "pip", "install", "-q", "--target", str(content)]
        subprocess.run([*pip, str(ROOT)], check=True)
        (content / "__main__.py").write_text(PROGRAM.read_text())
        zipapp.create_archive(content, bundle)
        return shares(sys.executable, "-I", "-S", str(bundle))


if __name__ == "__main__":
    sys.exit(main())
