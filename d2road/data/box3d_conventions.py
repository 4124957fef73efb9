"""Conventions of 3D labels that numbers alone betray: units, angles, and which of a vehicle's sides is its length.

Each function returns what is wrong, for a user, or "". Real data never comes near the limits: they tell a mistake in
how a file was made, not odd objects.
"""

import math

import numpy as np

from d2road.structures.upright_boxes import ry_to_alpha, wrap_angle

MIN_OBJECTS = 5
VEHICLES = (
    "car", "van", "truck", "bus", "tram", "vehicle", "big_vehicle", "taxi", "suv", "lorry", "cyclist", "motorcyclist",
    "tricyclist", "bicycle", "motorcycle",
)  # fmt: skip
MAX_ANGLE = 4 * math.pi  # angles that are not wrapped stay below it; degrees soon pass it
MAX_MEDIAN_M, MIN_VEHICLE_M = 50.0, 0.05
UNKNOWN_ANGLE = -10.0
MAX_ALPHA_OFF = 0.3


def angle_problem(angles: np.ndarray, name: str) -> str:
    """Angles (N,) that cannot be radians."""
    stated = angles[np.isfinite(angles) & (angles != UNKNOWN_ANGLE)]
    large = np.abs(stated) > MAX_ANGLE
    if large.sum() < MIN_OBJECTS or large.mean() < 0.2:
        return ""
    return (
        f"{name} of {int(large.sum())} of {len(stated)} objects is beyond {MAX_ANGLE:.1f}, e.g. {stated[large][0]:g}: "
        "angles are in radians; convert degrees by pi / 180"
    )


def alpha_problem(alpha: np.ndarray, ry: np.ndarray, location: np.ndarray) -> str:
    """Headings `ry` (N,) that contradict observation angles `alpha` (N,) of objects at `location` (N, 3)."""
    known = alpha != UNKNOWN_ANGLE
    if known.sum() < MIN_OBJECTS or np.ptp(alpha[known]) == 0:  # a constant is nobody's measurement
        return ""
    off = float(np.median(np.abs(wrap_angle(ry_to_alpha(ry, location) - alpha)[known])))
    if off < MAX_ALPHA_OFF:
        return ""
    return (
        f"alpha is not rotation_y - atan2(x, z): half of {int(known.sum())} objects are off by {off:.2f} rad or more; "
        "one of the two is of another convention"
    )


def unit_problem(types: np.ndarray, dimensions_hwl: np.ndarray) -> str:
    """Dimensions (N, 3) of objects of `types` (N,) that cannot be metres."""
    if len(dimensions_hwl) < MIN_OBJECTS:
        return ""
    longest = dimensions_hwl.max(axis=1)
    vehicle = is_vehicle(types)
    if np.median(longest) > MAX_MEDIAN_M:
        found = f"half of {len(longest)} objects are longer than {np.median(longest):.0f} m"
    elif vehicle.sum() >= MIN_OBJECTS and np.median(longest[vehicle]) < MIN_VEHICLE_M:
        found = f"half of {int(vehicle.sum())} vehicles are shorter than {np.median(longest[vehicle]):.2g} m"
    else:
        return ""
    return f"{found}: dimensions and locations are in metres; convert them, from centimetres by 0.01"


def wide_vehicles(types: np.ndarray, dimensions_hwl: np.ndarray) -> tuple[int, int]:
    """How many vehicles there are that are clearly wider than long, and how many vehicles of known types."""
    vehicle = is_vehicle(types)
    wide = vehicle & (dimensions_hwl[:, 1] > 1.1 * dimensions_hwl[:, 2])
    return int(wide.sum()), int(vehicle.sum())


def side_problem(types: np.ndarray, dimensions_hwl: np.ndarray) -> str:
    """Width and length that are exchanged: most vehicles wider than long."""
    wide, total = wide_vehicles(types, dimensions_hwl)
    if wide < MIN_OBJECTS or 2 * wide <= total:
        return ""
    h, w, l = np.median(dimensions_hwl[is_vehicle(types)], axis=0)  # noqa: E741
    return (
        f"{wide} of {total} vehicles are wider than long (median height {h:.2f}, width {w:.2f}, length {l:.2f} m): "
        "dimensions are height width length, and rotation_y is the heading of the length"
    )


def is_vehicle(types: np.ndarray) -> np.ndarray:
    """(N,) bool: of a type that is longer than wide, as far as names tell."""
    return np.isin(np.char.lower(types.astype(np.str_)), VEHICLES)
