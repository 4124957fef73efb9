"""Readers of trajectories, by name; see open_trajectories."""

from efficientad.trajectories.readers import fcd, highd, levelx, mot, ngsim, plain  # noqa: F401  only registration
from efficientad.trajectories.readers.source import READERS, Part, Source, open_trajectories

__all__ = ["READERS", "Part", "Source", "open_trajectories"]
