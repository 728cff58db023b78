"""Each numbered promise of the README's section "Security" has its tests."""

from __future__ import annotations

import re
from pathlib import Path

from tests.secrecy.promises import PROMISES

TESTS = Path(__file__).parents[1]


def test_every_numbered_promise_names_tests_that_exist() -> None:
    readme = (TESTS.parent / "README.md").read_text()
    section = readme.partition("## Security")[2].partition("\n## ")[0]
    numbers = re.findall(r"^(\d+)\. ", section, re.MULTILINE)

    assert [int(number) for number in numbers] == list(PROMISES)
    for names in PROMISES.values():
        for name in names:
            file, _, function = name.partition("::")
            assert f"def {function}(" in (TESTS / file).read_text(), name
