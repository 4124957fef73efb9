"""Generators of toy data, each with one entry function: the same seed gives the same bytes.

from d2road.synthetic.roadside import make_toy_roadside                     camera views with 2D and 3D labels
from d2road.synthetic.fastener_kit import make_toy_loco                     logical and structural anomalies
from d2road.synthetic.traffic_incidents import make_traffic_incidents       windows of simulated traffic
"""
