"""Recall against the rate of false alarms: what is drawn is what the record says."""

import cv2

from benchmarks.traffic.rate_curves import draw_rates, write_curve

METRICS = {
    "rules": {"curve": {"0.25": 0.4, "1": 0.6, "8": 0.9}},
    "rules and forecast": {"curve": {"0.25": 0.5, "1": 0.8, "8": 0.95}},
}


def test_each_row_is_a_line_over_its_rates():
    (axes,) = draw_rates(METRICS).axes
    lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()}
    assert lines["rules"] == ([0.25, 1, 8], [0.4, 0.6, 0.9])
    assert list(lines) == ["rules and forecast", "rules"]  # the best at one an hour comes first
    assert axes.get_xscale() == "log" and list(axes.get_xticks()) == [0.25, 1, 8]


def test_a_record_is_drawn_as_an_image_that_does_not_change(tmp_path):
    for name in ("a.png", "b.png"):
        write_curve(tmp_path / name, METRICS)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert cv2.imread(str(tmp_path / "a.png")).shape[:2] == (500, 900)
