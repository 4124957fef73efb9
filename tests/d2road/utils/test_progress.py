"""Progress lines."""

import pytest

from d2road.utils.progress import format_progress, track


def test_progress_line():
    assert format_progress("x", 120, 500, 8.0) == "x 120/500 24% 15.0/s eta 0:00:25"
    # Frames of an earlier run do not count in the rate.
    assert format_progress("x", 120, 500, 8.0, already_done=100) == "x 120/500 24% 2.5/s eta 0:02:32"
    assert format_progress("x", 0, 0, 0.0).startswith("x 0/0 100%")


def test_track_passes_everything_and_ends_with_a_line():
    lines = []
    assert list(track(range(5), label="n", already_done=3, log=lines.append)) == [0, 1, 2, 3, 4]
    assert lines[-1].startswith("n 8/8 100%")
    with pytest.raises(ValueError, match="total"):
        track(iter(()))
