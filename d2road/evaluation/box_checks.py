"""Whether the boxes of two sets of files are of one convention, before their overlap is taken for a result."""

import logging

from d2road.data.box3d_conventions import angle_problem, side_problem, unit_problem
from d2road.evaluation.metrics.kitti_objects import ObjectTable
from d2road.utils.errors import DataError

logger = logging.getLogger(__name__)


def check_boxes(truth: ObjectTable, predictions: ObjectTable) -> None:
    """Refuse angles that cannot be radians and sizes that cannot be metres; warn of vehicles that are wider than long.

    Raises:
        DataError: labels or predictions are in other units.
    """
    for what, objects in (("labels", truth), ("predictions", predictions)):
        solid = objects[objects.has_3d]
        dimensions = solid.boxes3d[:, 3:6]
        problem = angle_problem(solid.boxes3d[:, 6], "rotation_y") or angle_problem(objects.alpha, "alpha")
        problem = problem or unit_problem(solid.type, dimensions)
        if problem:
            raise DataError(f"{what}: {problem}")
        sides = side_problem(solid.type, dimensions)
        if sides:
            logger.warning("%s: %s; results are right only if labels and predictions do it alike", what, sides)
