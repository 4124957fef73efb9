"""Sizes of vehicles in clips: three sets, which SUMO and the renderer agree on."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from d2road.synthetic.traffic_incidents import sumo
from d2road.synthetic.traffic_incidents.network import THREE_LANES, write_network
from d2road.synthetic.traffic_video.vehicle_sizes import SIZES, SUMO_HWL, sized_population, vehicle_models

V_CLASSES = {"car": "passenger", "van": "delivery", "truck": "truck", "bus": "bus"}


@pytest.mark.parametrize("sizes", SIZES)
def test_sumo_is_told_the_sizes_that_are_drawn(sizes):
    drivers = sized_population("idm", sizes).sample(np.random.default_rng(3))
    models = vehicle_models(drivers)
    assert {model.kind for model in models.values()} == {"car", "van", "truck", "bus"}
    for driver in drivers:
        told = ElementTree.fromstring(driver.xml())
        height, width, length = models[driver.name].hwl
        assert (float(told.get("height")), float(told.get("width")), float(told.get("length"))) == (
            height, width, length,
        )  # fmt: skip


def test_the_shifted_set_is_three_percent_larger():
    sizes = {}
    for name in ("catalogue", "shifted"):
        models = vehicle_models(sized_population("idm", name).sample(np.random.default_rng(3)))
        sizes[name] = np.array([model.hwl for model in models.values()])
    assert sizes["shifted"] == pytest.approx(1.03 * sizes["catalogue"], abs=0.0103)  # both in whole cm


@pytest.mark.skipif(sumo.sumo_home() is None, reason="SUMO is not installed: the extra `traffic` has it")
def test_the_third_set_is_what_sumo_takes_for_its_classes(tmp_path):
    write_network(tmp_path, THREE_LANES, 25.0)
    types = "".join(f'<vType id="{name}" vClass="{name}"/>' for name in V_CLASSES.values())
    (tmp_path / "types.rou.xml").write_text(f'<routes>{types}<route id="r" edges="up merge"/></routes>')
    with sumo.controlled(["--net-file", "road.net.xml", "--route-files", "types.rou.xml"], tmp_path) as connection:
        connection.simulationStep(1.0)
        ask = connection.vehicletype
        found = {kind: (ask.getHeight(c), ask.getWidth(c), ask.getLength(c)) for kind, c in V_CLASSES.items()}
    assert found == SUMO_HWL
