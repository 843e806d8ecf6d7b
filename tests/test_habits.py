"""How work is done here: what is written down of it is what is true."""

from __future__ import annotations

import collections

from tests.kit import ROOT

TESTS = ROOT / 'tests'


def test_no_two_test_modules_have_one_name() -> None:
    """All tests can be collected in one run: pytest knows a module by the last part of its path."""
    names = collections.Counter(path.name for path in TESTS.rglob('test_*.py'))
    assert [name for name, count in names.items() if count > 1] == []
