"""Lines of what moves: paths run to the point that things move to, and what stands gives none."""

import numpy as np

from d2road.video.moving_lines import LineCollector

WIDTH, HEIGHT = 480, 270
TO = np.array([300.0, 40.0])  # where all paths run to


def frames(count: int, step: float) -> list[np.ndarray]:
    """A bright plate with a pattern on a grey road: it shrinks about TO by a share of `step` from frame to frame."""
    rng = np.random.default_rng(3)
    ground = np.full((HEIGHT, WIDTH), 90.0) + rng.normal(0, 1.0, (HEIGHT, WIDTH))
    pattern = np.kron(rng.uniform(20, 250, (5, 6)), np.ones((20, 20)))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    shown = []
    for number in range(count):
        scale = (1 - step) ** number
        u, v = (columns - TO[0]) / scale + TO[0] - 130.0, (rows - TO[1]) / scale + TO[1] - 140.0
        inside = (u >= 0) & (u < pattern.shape[1] - 1) & (v >= 0) & (v < pattern.shape[0] - 1)
        image = ground.copy()
        image[inside] = pattern[v[inside].astype(int), u[inside].astype(int)]
        shown.append(np.repeat(image.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2))
    return shown


def lines_of(count: int, step: float):
    collector = LineCollector()
    for image in frames(count, step):
        collector.add(image)
    return collector.lines()


def test_paths_run_to_the_point_that_things_move_to_and_edges_are_those_of_the_thing():
    found = lines_of(30, 0.02)
    assert len(found.paths) > 20
    middle, along = (found.paths[:, :2] + found.paths[:, 2:]) / 2, found.paths[:, 2:] - found.paths[:, :2]
    toward = TO - middle
    assert (np.einsum("ni,ni->n", along, toward) > 0).all()  # in the sense of motion
    missed = np.abs(toward[:, 0] * along[:, 1] - toward[:, 1] * along[:, 0]) / np.linalg.norm(along, axis=1)
    assert np.median(missed) < 2.0
    turn = np.rad2deg(np.arctan2(*(found.edges[:, 2:] - found.edges[:, :2]).T[::-1])) % 90
    assert len(found.edges) > 10 and np.median(np.minimum(turn, 90 - turn)) < 2.0  # level and upright


def test_what_stands_gives_no_lines():
    found = lines_of(30, 0.0)
    assert found.paths.shape == (0, 4) and found.edges.shape == (0, 4)


def test_one_frame_gives_no_lines():
    found = lines_of(1, 0.0)
    assert found.paths.shape == (0, 4) and found.edges.shape == (0, 4)
