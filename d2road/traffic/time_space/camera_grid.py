"""Windows of what a roadside camera sees: the whole view in one image, in steps of decimetres instead of metres."""

from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.traffic.time_space.window_grid import WindowGrid

SIZE = (256, 256)
DT_S = 0.1  # 25.6 s of a window
STRIDE_S = 6.4  # an alarm is told so much later at most, half of a road's


def camera_grid(view: tuple[float, float], direction: int | None = None, stride_s: float = STRIDE_S) -> WindowGrid:
    """One window along the road at a time, as long as the view: 60 m in rows of 23 cm.

    Args:
        view: lower and upper s (m) of the road in view, see `d2road.traffic.seeing.camera_site.view_stretch`.
        direction: of the traffic, whose s `view` is. None: both; `view` is then the distance along the road, and s of
            the traffic that comes towards the camera is that with its sign turned.
        stride_s: from a window to the next.
    """
    low, high = view
    renderer = TimeSpaceRenderer(size=SIZE, dt=DT_S, ds=(high - low) / SIZE[0])
    return WindowGrid(renderer, stride_s, s_range=view, direction=direction, mirrored=direction is None)
