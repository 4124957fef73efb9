"""The fits and claims of the benchmark of growth, and one of its cheap points."""

import json

import pytest

from benchmarks.speed import growth, growth_points
from benchmarks.speed.growth_points import AXES, by_quarter, measure


def points(power, memory=(3.0, 30.0, 300.0)):
    return [
        {"value": x, "seconds": 0.2 * x**power, "memory_mb": mb, "peak_mb": 100.0 + mb}
        for x, mb in zip((1, 10, 100), memory)
    ]


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_exponents_are_those_of_powers(power):
    assert growth.exponent(points(power), "seconds") == pytest.approx(power)
    assert growth.exponent(points(power), "memory_mb") == pytest.approx(1.0)


def test_claims_are_judged():
    flat = {"time_exponent": 1.0, "memory_exponent": 0.0, "points": points(1, (60.0, 62.0, 84.0))}
    assert growth.keeps("traffic_hours", flat) == "time linear; memory flat"
    grown = {"time_exponent": 1.3, "memory_exponent": 0.0, "points": points(1, (60.0, 70.0, 90.0))}
    assert growth.keeps("traffic_hours", grown) == "time linear, missed; memory flat, missed"
    assert growth.keeps("detector_boxes", grown) == ""
    assert growth.line("traffic_hours", flat).count("|") == growth.HEADER.splitlines()[0].count("|")


def test_a_point_is_measured_and_printed(monkeypatch, capsys):
    axis = growth_points.Axis("a", "MB", (1,), lambda n: lambda: bytearray(round(n * 2**20)))
    monkeypatch.setitem(AXES, "detector_boxes", axis)
    assert growth.main(["--point", "detector_boxes", "40", "--runs", "1"]) == 0
    found = json.loads(capsys.readouterr().out.partition("POINT ")[2])
    assert found["value"] == 40 and found["seconds"] >= 0 and found["peak_mb"] > 40


def test_made_traffic_is_read_whole():
    found = growth_points.readers(3)()
    assert found == 3 * 600 / growth_points.STEP_S


def test_memory_is_sampled_by_quarter():
    assert by_quarter([1.0, 2.0, 3.0, 4.0, 5.0, 9.0, 7.0, 8.0]) == [2.0, 4.0, 9.0, 8.0]
    kept = []
    grown = measure(growth_points.Axis("a", "b", (1,), lambda n: lambda: kept.append(b"x" * 50 * 2**20)), 1, 1)
    assert grown["memory_mb"] > 40 and len(grown["mb_by_quarter"]) >= 1


def test_the_figure_has_every_axis(tmp_path, monkeypatch):
    monkeypatch.setattr(growth, "FIGURE", tmp_path / "growth.svg")
    growth.draw({name: {"points": points(1)} for name in AXES})
    assert (tmp_path / "growth.svg").read_text().count("<path") > len(AXES)
