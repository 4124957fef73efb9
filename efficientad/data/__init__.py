"""Data sets for anomaly detection, their layouts and mapper."""
