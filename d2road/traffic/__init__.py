"""Traffic as images: the time-space diagram, position along the road over time, for EfficientAD to look at.

It is sometimes called a spatio-temporal graph; no graph network is meant. See docs/trajectories.md.
"""
