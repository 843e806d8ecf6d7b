"""The signatures of all that is public change on purpose only."""

from __future__ import annotations

from tests.api import SNAPSHOT, snapshot


def test_no_public_signature_changes_unnoticed() -> None:
    """tests/api.txt has the signatures as they are; who changes one writes it anew, and tells of it in CHANGELOG.md."""
    assert snapshot().split('\n') == SNAPSHOT.read_text().split('\n'), 'meant so? write it anew: python -m tests.api'
