import cv2
import numpy as np
import pytest

from d2road.config import make_cfg
from d2road.config.time_space import add_time_space_config, renderer_of, window_grid_of
from d2road.traffic.time_space.axes_view import plot_time_space, save_figure
from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.utils.errors import ConfigError
from tests.factories.trajectories import steps, table, track


def figure_and_image(renderer, **keys):
    t = steps(64)
    rows = table(track("a", t, s=20 + 10 * t, lane="1"), track("b", t, s=20 + 5 * t, lane="2"))
    image = renderer.render(rows, 0, 10)
    return plot_time_space(image, renderer, 0.0, 10.0, **keys), image


def test_axes_have_units_and_the_limits_of_the_window():
    renderer = TimeSpaceRenderer(size=(64, 64))
    figure, image = figure_and_image(renderer, title="I-80")
    axes = figure.axes[0]
    assert axes.get_xlabel() == "time t in s" and axes.get_ylabel() == "position s along the road in m"
    assert axes.get_xlim() == pytest.approx((-0.05, 6.35)) and axes.get_ylim() == pytest.approx((10, 138))
    assert np.array_equal(axes.images[0].get_array(), image) and axes.get_title() == "I-80"
    # A pixel lies where the renderer says that it does.
    left, right, bottom, top = axes.images[0].get_extent()
    x, y = renderer.to_pixel(3.0, 50.0, 0, 10)
    assert left + (x + 0.5) * (right - left) / 64 == pytest.approx(3.0)
    assert top - (y + 0.5) * (top - bottom) / 64 == pytest.approx(50.0)


def test_heat_lies_over_the_image_and_is_written(tmp_path):
    heat = np.zeros((16, 16))
    heat[4:8, 4:8] = 1
    truth = np.zeros((64, 64), bool)
    truth[16:32, 16:32] = True
    renderer = TimeSpaceRenderer(size=(64, 64))
    figure, _ = figure_and_image(renderer, heat=heat, threshold=0.5, truth_mask=truth)
    plain, _ = figure_and_image(renderer)
    assert (
        len(figure.axes[0].images) == 2
        and figure.axes[0].images[1].get_extent() == plain.axes[0].images[0].get_extent()
    )
    save_figure(figure, tmp_path / "heat.png")
    save_figure(plain, tmp_path / "plain.png")
    drawn, bare = (cv2.imread(str(tmp_path / name)) for name in ("heat.png", "plain.png"))
    assert drawn.shape == bare.shape and (drawn != bare).any()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["heat.png", "plain.png"]


def test_long_lines_of_a_title_are_broken():
    figure, _ = figure_and_image(TimeSpaceRenderer(size=(64, 64)), title="I-80\n" + 30 * "vehicle ")
    first, *others = figure.axes[0].get_title().split("\n")
    assert first == "I-80" and len(others) == 3 and max(map(len, others)) <= 90


def test_panels_are_named():
    renderer = TimeSpaceRenderer(size=(64, 64), lane_layout="stacked")
    figure, _ = figure_and_image(renderer, lanes=["1", "2"])
    figure.canvas.draw()
    texts = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert texts == ["10", "74\nlane 1", "10", "74\nlane 2"]


def test_wrong_shapes():
    renderer = TimeSpaceRenderer(size=(64, 64))
    with pytest.raises(ValueError, match="for a renderer of 64 x 64"):
        plot_time_space(np.zeros((32, 64, 3), np.uint8), renderer, 0, 0)
    with pytest.raises(ValueError, match="two dimensions"):
        plot_time_space(np.zeros((64, 64, 3), np.uint8), renderer, 0, 0, heat=np.zeros(3))


def test_config_gives_renderer_and_windows():
    cfg = make_cfg()
    add_time_space_config(cfg)
    assert renderer_of(cfg) == TimeSpaceRenderer() and window_grid_of(cfg).stride == 12.8
    window_grid_of(cfg)
    cfg.merge_from_list(["TIME_SPACE.LANE_LAYOUT", "stacked", "TIME_SPACE.LANES", "('0', '1')", "TIME_SPACE.DT", "0.2"])
    cfg.merge_from_list(["TIME_SPACE.MAX_GAP", "0.5", "TIME_SPACE.S_RANGE", "(0, 600)", "TIME_SPACE.STRIDE_S", "128.0"])
    grid = window_grid_of(cfg)
    assert grid.renderer == TimeSpaceRenderer(dt=0.2, lane_layout="stacked", max_gap=0.5)
    assert (grid.lanes, grid.s_range, grid.stride_s, grid.direction) == (("0", "1"), (0, 600), 128.0, None)
    add_time_space_config(cfg)  # again, without effect
    assert cfg.TIME_SPACE.DT == 0.2
    cfg.TIME_SPACE.LANES = ()
    with pytest.raises(ConfigError, match="need the names of their lanes"):
        window_grid_of(cfg)
