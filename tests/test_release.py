"""What would be uploaded: built once from this checkout, without a network, and looked into."""

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

ROOT = Path(__file__).parent.parent
VERSION = turvo_session.__version__
NAME = f"turvo_session-{VERSION}"


class Built(NamedTuple):
    """The folder that holds both files, the names in each, and their metadata."""

    folder: Path
    sdist: set[str]
    wheel: set[str]
    metadata: email.message.Message


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """An sdist of this checkout, and the wheel that is built from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    python(ROOT, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT))
    assert sorted(os.listdir(folder)) == [f"{NAME}-py3-none-any.whl", f"{NAME}.tar.gz"]
    with tarfile.open(folder / f"{NAME}.tar.gz") as sdist:
        packed = {member.name.removeprefix(f"{NAME}/") for member in sdist.getmembers() if member.isfile()}
    with zipfile.ZipFile(folder / f"{NAME}-py3-none-any.whl") as wheel:
        wheel.extractall(folder / "unpacked")
        text = wheel.read(f"{NAME}.dist-info/METADATA").decode()
        return Built(folder, packed, set(wheel.namelist()), email.parser.Parser().parsestr(text))


def python(cwd: Path, *argv: str, **environ: str) -> str:
    """Run Python; what it printed."""
    done = subprocess.run(
        [sys.executable, *argv],
        cwd=cwd,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def files(*folders: str) -> set[str]:
    """The files of the checkout under some folders, but for what tools have left there."""
    found = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    names = {path.relative_to(ROOT).as_posix() for path in found}
    return {name for name in names if not re.search(r"/(__pycache__|\.[^/]+)/", name)}


def test_both_files_are_accepted_by_the_check_before_an_upload(built: Built) -> None:
    said = python(
        built.folder, "-m", "twine", "check", "--strict", f"{NAME}.tar.gz", f"{NAME}-py3-none-any.whl"
    )
    assert said.count("PASSED") == 2


def test_the_wheel_holds_the_package_and_nothing_else(built: Built) -> None:
    about = {f"{NAME}.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt")}
    package = files("turvo_session")
    assert built.wheel == package | about | {f"{NAME}.dist-info/licenses/LICENSE"}
    assert {Path(name).suffix for name in package} == {".py", ".lua", ".typed"}
    assert {"look.lua", "read.lua", "swap.lua", "py.typed"} <= {Path(name).name for name in package}


def test_the_sdist_holds_what_it_takes_to_build_and_to_test(built: Built) -> None:
    top = {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", ".gitignore", "PKG-INFO"}
    assert built.sdist == files("turvo_session", "tests", "examples", ".ci") | top


def test_the_unpacked_wheel_runs(built: Built) -> None:
    """In a folder far from the checkout, also the scripts for Redis that lie beside the modules."""
    code = (
        "import turvo_session, turvo_session.redis_store as store;"
        "print(turvo_session.__file__, len(store._script('read')) > 500, len(store._script('swap')) > 500)"
    )
    place = str(built.folder / "unpacked")
    assert (
        python(built.folder, "-c", code, PYTHONPATH=place) == f"{place}/turvo_session/__init__.py True True\n"
    )
    assert python(built.folder, "-m", "turvo_session", "--version", PYTHONPATH=place).endswith(
        f" {VERSION}\n"
    )


def test_the_metadata_say_what_the_project_is(built: Built) -> None:
    said = built.metadata
    assert (said["Name"], said["Version"], said["License-Expression"]) == ("turvo_session", VERSION, "MIT")
    assert said["Description-Content-Type"] == "text/markdown"
    assert str(said.get_payload()).strip() == (ROOT / "README.md").read_text().strip()
    needed = {
        re.split(r"[^\w-]", line)[0] for line in said.get_all("Requires-Dist", []) if "extra ==" not in line
    }
    assert needed == {"requests", "requests-oauthlib", "redis", "tenacity"}
    assert {"encryption", "test"} <= set(said.get_all("Provides-Extra", []))
    scripts = (built.folder / "unpacked" / f"{NAME}.dist-info" / "entry_points.txt").read_text()
    assert scripts == "[console_scripts]\nturvo-session = turvo_session.__main__:main\n"


def test_the_newest_entry_of_the_changelog_is_this_version() -> None:
    entries = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert re.fullmatch(rf"{re.escape(VERSION)} \(\d{{4}}-\d\d-\d\d\)", entries[0])
    assert len(set(entries)) == len(entries)
