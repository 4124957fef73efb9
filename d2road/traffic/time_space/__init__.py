"""Time-space images: trajectories drawn with time to the right and position up."""
