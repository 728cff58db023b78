"""What a release would upload: built from this checkout without a network."""

from __future__ import annotations

import email.message
import email.parser
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

import turvo_session

ROOT = Path(__file__).parents[2]
VERSION = turvo_session.__version__
NAME = f"turvo_session-{VERSION}"
DISTRIBUTIONS = (f"{NAME}.tar.gz", f"{NAME}-py3-none-any.whl")
ABOUT = ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
TOP = {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", ".gitignore"}


class Built(NamedTuple):
    """Both distributions in a folder, with what is in them."""

    folder: Path
    sdist: set[str]
    wheel: set[str]
    metadata: email.message.Message


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build an sdist of this checkout, and the wheel from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run_python(ROOT, "-m", "build", "--no-isolation", f"--outdir={folder}", str(ROOT))
    assert set(os.listdir(folder)) == set(DISTRIBUTIONS)
    with tarfile.open(folder / DISTRIBUTIONS[0]) as sdist:
        files = [member for member in sdist.getmembers() if member.isfile()]
        packed = {member.name.removeprefix(f"{NAME}/") for member in files}
    with zipfile.ZipFile(folder / DISTRIBUTIONS[1]) as wheel:
        wheel.extractall(folder / "unpacked")
        text = wheel.read(f"{NAME}.dist-info/METADATA").decode()
        names = set(wheel.namelist())
    return Built(folder, packed, names, email.parser.Parser().parsestr(text))


def run_python(folder: Path, *arguments: str, **environ: str) -> str:
    """Run Python in ``folder`` and return what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def files_below(*folders: str) -> set[str]:
    """Return the files of the checkout, without what tools have left there."""
    found = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    names = {path.relative_to(ROOT).as_posix() for path in found if path.is_file()}
    return {name for name in names if not re.search(r"/(__pycache__|\.[^/]+)/", name)}


def test_both_distributions_pass_the_check_before_an_upload(built: Built) -> None:
    said = run_python(built.folder, "-m", "twine", "check", "--strict", *DISTRIBUTIONS)
    assert said.count("PASSED") == 2


def test_a_distribution_holds_all_that_belongs_there_and_nothing_else(
    built: Built,
) -> None:
    """The wheel holds the package; the sdist all that it takes to build and test."""
    package = files_below("turvo_session")
    assert built.wheel == package | {f"{NAME}.dist-info/{name}" for name in ABOUT}
    # A frozen program has no package data, so there must be none that it would miss.
    assert {Path(name).suffix for name in package} == {".py", ".typed"}
    folders = files_below("turvo_session", "tests", "examples", ".ci")
    assert built.sdist == folders | TOP | {"PKG-INFO"}


def test_the_unpacked_wheel_runs_far_from_the_checkout(built: Built) -> None:
    place = str(built.folder / "unpacked")
    code = (
        "from turvo_session import __main__ as program\n"
        "print(program.__file__)\n"
        "program.main(['--version'])"
    )
    said = run_python(built.folder, "-c", code, PYTHONPATH=place)
    assert said.splitlines() == [
        f"{place}/turvo_session/__main__.py",
        f"turvo-session {VERSION}",
    ]


def test_the_metadata_describe_the_project(built: Built) -> None:
    said = built.metadata
    about = (said["Name"], said["Version"], said["License-Expression"])
    assert about == ("turvo_session", VERSION, "MIT")
    assert said["Description-Content-Type"] == "text/markdown"
    assert str(said.get_payload()).strip() == (ROOT / "README.md").read_text().strip()
    lines = [line for line in said.get_all("Requires-Dist", []) if "extra" not in line]
    needed = {re.split(r"[^\w-]", line)[0] for line in lines}
    assert needed == {"requests", "requests-oauthlib", "redis", "tenacity", "urllib3"}
    assert {"encryption", "test"} <= set(said.get_all("Provides-Extra", []))
    # Nothing else is registered, above all no plugin of pytest.
    unpacked = built.folder / "unpacked" / f"{NAME}.dist-info"
    scripts = (unpacked / "entry_points.txt").read_text()
    assert scripts == "[console_scripts]\nturvo-session = turvo_session.__main__:main\n"


def test_the_newest_entry_of_the_changelog_is_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    entries = re.findall(r"^## (.*)$", changelog, re.MULTILINE)
    assert re.fullmatch(rf"{re.escape(VERSION)} \(\d{{4}}-\d\d-\d\d\)", entries[0])
    assert len(set(entries)) == len(entries)
