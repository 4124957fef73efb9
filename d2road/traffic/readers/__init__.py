"""Readers of trajectories, by name; see open_trajectories."""

from d2road.traffic.readers import commonroad, fcd, highd, levelx, mot, ngsim, plain  # noqa: F401  only registration
from d2road.traffic.readers.source import READERS, Part, Source, open_trajectories

__all__ = ["READERS", "Part", "Source", "open_trajectories"]
