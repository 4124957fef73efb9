#!/usr/bin/env bash
# commonroad-io gives circular obstacles a polygon of half their radius
# Versions: commonroad-io 2026.1 (shapely 2.1.2)
# Guess:    the occupancy of a circle of radius 2 at the origin is a disc of area 12.57 and as wide as 4, and a point 1.5
#           from the middle is in both, the occupancy and its shapely_object
# Seen:     shapely_object is a disc of radius 1 (area 3.14, width 2); contains_point, the bounding rectangle and what is
#           written and drawn have the full radius
# Matters:  whatever goes by polygons (collisions, overlaps, distances, extents of pedestrians and other round obstacles)
#           sees half of the width; take .radius and .center.buffer(radius)
# Output:   width 4 by radius, 2.00 by shapely; area 3.14; point at 1.5: contained True, in the polygon False
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q commonroad-io==2026.1 shapely==2.1.2
cat > "$work/circle.py" <<'PYTHON'
import sys

import numpy as np
import shapely
from commonroad.geometry.obstacle_shapes.circle_obstacle_shape import CircleObstacleShape
from commonroad.scenario.state import InitialState

shape = CircleObstacleShape(radius=2.0)
state = InitialState(time_step=0, position=np.array([0.0, 0.0]), orientation=0.0, velocity=1.0)
occupancy = shape.compute_occupancy(state)
disc, point = occupancy.shapely_object, shapely.Point(1.5, 0.0)
width = disc.bounds[2] - disc.bounds[0]
contained = bool(occupancy.contains_point(point))
print(
    f"width {2 * occupancy.radius:.0f} by radius, {width:.2f} by shapely; area {disc.area:.2f}; "
    f"point at 1.5: contained {contained}, in the polygon {disc.contains(point)}"
)
sys.exit(0 if (round(width, 2), contained, disc.contains(point)) == (2.0, True, False) else 1)
PYTHON
"$work/venv/bin/python" -W ignore "$work/circle.py"
