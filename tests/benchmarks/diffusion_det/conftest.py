"""Fixtures of a small data set in 3D."""

from tests.factories.kitti_folder import kitti_folder, rewrite, row  # noqa: F401
