"""A generator of traffic with incidents on a motorway, driven by SUMO; `d2road make-data traffic-incidents` runs it.

Data flow: network, drivers, scenarios (who drives where) -> simulate, control, incident_kinds (SUMO, and what goes
wrong in it) -> noise (what a sensor has of it) -> incident_windows (images and masks) -> recordings, incident_writer
(files).
"""

from d2road.synthetic.traffic_incidents.day import make_day
from d2road.synthetic.traffic_incidents.incident_writer import make_traffic_incidents

__all__ = ["make_day", "make_traffic_incidents"]
