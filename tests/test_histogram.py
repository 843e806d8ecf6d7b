"""Times counted in buckets."""

from __future__ import annotations

import json
from math import ceil, frexp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napixclient.histogram import Histogram

TIMES = st.floats(1e-6, 1e9)


def counted(times: list[float]) -> Histogram:
    """A histogram of these."""
    histogram = Histogram()
    for time in times:
        histogram.add(time)
    return histogram


@given(st.lists(TIMES, min_size=1), st.sampled_from([0.01, 0.5, 0.9, 0.99, 1]))
def test_quantiles(times: list[float], share: float) -> None:
    """A quantile is within 7 % of the time that so large a share does not exceed."""
    exact = sorted(times)[ceil(len(times) * share) - 1]
    assert counted(times).quantile(share) == pytest.approx(exact, rel=0.07)


def test_no_times() -> None:
    """Nothing counted has no quantiles."""
    assert Histogram().quantiles() == {'p50': None, 'p90': None, 'p99': None}


@pytest.mark.parametrize('time', [0, 5e-324, 1e-12, 1e12, 1e300, float('inf')])
def test_times_out_of_range(time: float) -> None:
    """A time below or above all buckets counts in the first or the last."""
    found = counted([1e-7 if time < 1 else 1e11, time]).counts
    assert list(found.values()) == [2]
    assert 0 <= (counted([time]).quantile(0.5) or 0) < 5e9


@given(TIMES)
def test_stored_numbers_do_not_change(time: float) -> None:
    """Bucket 0 begins at a half, and eight are an octave: stores that are there already are read so."""
    fraction, exponent = frexp(time)
    assert counted([time]).stored() == {str(exponent * 8 + int(fraction * 16) - 8): 1}


@given(st.lists(TIMES))
def test_restored(times: list[float]) -> None:
    """What was stored as JSON counts on where it was."""
    histogram = counted(times)
    restored = Histogram.restored(json.loads(json.dumps(histogram.stored())))
    assert restored.counts == histogram.counts
    assert restored.quantiles() == histogram.quantiles()
