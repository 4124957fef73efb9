"""Types of Rope3D's label files, merged to four classes as its benchmark does."""

from d2road.data.datasets.label_types import LabelTypes

TYPES = LabelTypes(
    members={
        "car": ("car", "van"),
        "big_vehicle": ("truck", "bus"),
        "cyclist": ("cyclist", "motorcyclist", "tricyclist"),
        "pedestrian": ("pedestrian", "barrow"),
    },
    others=("trafficcone", "traffic_cone", "triangle_plate", "unknown*"),
)
