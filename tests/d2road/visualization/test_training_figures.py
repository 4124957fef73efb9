"""Training curves from the rows of metrics.json."""

import numpy as np
import pytest

from d2road.visualization.training_figures import training_figures


def rows(count: int) -> list[dict]:
    found = [
        {
            "iteration": 20 * i + 19,
            "total_loss": float(i % 2),
            "loss_a": 1.0,
            "lr": 0.1,
            "eta_seconds": 3.0,
            "time": 2.0,
        }
        for i in range(count)
    ]
    return [*found, {"iteration": 40, "bbox/AP": 1.0, "bbox/AP50": 2.0}, {"iteration": 80, "bbox/AP": 3.0}]


def test_what_is_logged_is_in_its_figure():
    figures = training_figures(rows(40), ["bbox/AP50", "bbox/AP"])
    assert list(figures) == ["losses", "schedule", "results"]
    assert [panel.title for panel in figures["losses"].panels] == ["total_loss", "loss_a"]
    assert [panel.title for panel in figures["results"].panels] == ["bbox/AP50", "bbox/AP"]
    (ap,) = figures["results"].panels[1].series
    assert (ap.x, ap.y) == ((40, 80), (1, 3))


def test_losses_are_averaged_and_their_range_is_kept():
    (series,) = training_figures(rows(40))["losses"].panels[0].series
    logged = np.arange(40) % 2
    # The mean over three logged values, of two at the ends; the band holds all that was logged.
    expected = [np.mean(logged[max(0, i - 1) : i + 2]) for i in range(40)]
    np.testing.assert_allclose(series.y, expected)
    assert set(series.low[1:-1]) == {0} and set(series.high[1:-1]) == {1}


@pytest.mark.parametrize("given", [[], [{"iteration": 0, "seconds_of_fit": 3.0}]])
def test_where_nothing_is_logged_there_is_no_figure(given):
    assert training_figures(given) == {}


def test_few_values_are_shown_as_they_are_and_one_evaluation_is_no_curve():
    figures = training_figures([{"iteration": 19, "total_loss": 2.0}, {"iteration": 19, "bbox/AP": 3.0}])
    assert list(figures) == ["losses"] and figures["losses"].panels[0].series[0].y == (2.0,)


def test_what_is_left_out_is_said():
    row = {"total_loss": 1.0, **{f"loss_{i}": 1.0 for i in range(30)}, **{f"bbox/AP-{i}": 2.0 for i in range(20)}}
    figures = training_figures([{"iteration": i, **row} for i in range(3)])
    assert len(figures["losses"].panels) == 24 and "7 more are in metrics.json" in figures["losses"].title
    assert len(figures["results"].panels) == 12 and "8 more are in metrics.json" in figures["results"].title
