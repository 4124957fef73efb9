"""The model of seeing of the shipped 3D detector with the tracker of a watch.

`python -m benchmarks.traffic.view_seeing --names val_000 val_002` fitted it on two rendered minutes of validation
cameras; a test compares it with the record, benchmarks/results/camera_view/seeing_model.json.
"""

from d2road.traffic.seeing.seeing_model import SeeingModel

SHIPPED_DETECTOR = SeeingModel(
    detect=(9.093548269226224, -5.075899899540762, 0.7485215920205474, -7.932447511684683),
    radial=(0.4558540127574155, 0.22778881056446465),
    across=(0.09834470151180802, 0.0),
    speed=(0.31449232844085584, 0.04401689903358594),
    correlation_s=19.730753746644687,
    birth_s=0.26962962962962955,
    bridge_s=2.0,
    switches_per_hour=15.452854485620259,
    ghosts_per_hour=210.35058430717865,
    ghost_s=5.128571428571429,
    length=0.09805308725005321,
)
