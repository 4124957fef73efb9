"""Scenarios of CommonRoad, against commonroad-io, which writes and reads them in an environment of its own."""

import json
import re

import numpy as np
import pytest

from d2road.traffic.readers import open_trajectories
from d2road.utils.errors import DataError
from tests.factories.peers import run_peer

WRITE = """
import sys
import numpy as np
import shapely
from commonroad.common.file_writer import CommonRoadFileWriter, OverwriteExistingFile
from commonroad.common.util import AngleInterval, FileFormat, Interval
from commonroad.geometry.obstacle_shapes.circle_obstacle_shape import CircleObstacleShape as Circle
from commonroad.geometry.obstacle_shapes.polygon_obstacle_shape import PolygonObstacleShape as Polygon
from commonroad.geometry.obstacle_shapes.rect_obstacle_shape import RectObstacleShape as Rectangle
from commonroad.geometry.obstacle_shapes.semi_trailer_truck_shape import SemiTrailerTruckShape
from commonroad.geometry.obstacle_shapes.truck_shape import TruckShape
from commonroad.geometry.occupancy.circle_occupancy import CircleOccupancy
from commonroad.geometry.occupancy.polygon_occupancy import PolygonOccupancy
from commonroad.geometry.occupancy.rect_occupancy import RectOccupancy
from commonroad.planning.planning_problem import PlanningProblemSet
from commonroad.prediction.prediction import TrajectoryPrediction
from commonroad.scenario.obstacle import DynamicObstacle, ObstacleType, StaticObstacle
from commonroad.scenario.scenario import Scenario, Tag
from commonroad.scenario.state import CustomState, InitialState
from commonroad.scenario.trajectory import Trajectory

scenario = Scenario(0.2)

def add(number, kind, shape, y, speed, heading=0.0, start=0, region=None):
    ahead = speed * 0.2 * np.array([np.cos(heading), np.sin(heading)])
    place = np.array([10.0 * number, y])
    more = {"hitch_angle": 0.0} if isinstance(shape, SemiTrailerTruckShape) else {}
    first = InitialState(start, place, heading, velocity=speed, acceleration=0.1, yaw_rate=0.0, slip_angle=0.0)
    states = []
    for step in range(1, 4):
        values = dict(position=place + step * ahead, orientation=heading, velocity=speed, **more)
        values["acceleration"] = 0.1 * step
        if region is not None:
            values["position"] = region(values["position"])
            values["orientation"] = AngleInterval(heading - 0.1, heading + 0.3)
            values["velocity"] = Interval(speed - 1, speed + 2)
            values["acceleration"] = Interval(0.0, 0.2)
        states.append(CustomState(time_step=start + step, **values))
    prediction = TrajectoryPrediction(Trajectory(start + 1, states), shape)
    scenario.add_objects(DynamicObstacle(number, ObstacleType(kind), shape, first, prediction))

add(1, "car", Rectangle(width=1.8, length=4.3), 1.0, 10.0)
add(2, "truck", Rectangle(width=2.5, length=12.0, origin_x_shift=-3.5), -2.0, 8.0, 0.05, 3)
add(3, "motorcycle", Circle(radius=0.9), 0.5, 12.0)
add(4, "bus", Polygon(((-1.0, -0.8), (3.0, -0.8), (3.5, 0.1), (3.0, 0.8), (-1.0, 0.8))), 2.0, 9.0, 0.1)
add(5, "car", Rectangle(width=1.8, length=4.5), 3.0, 10.0, np.pi)
add(6, "pedestrian", Circle(radius=0.3), 4.0, 1.0)
box, disc = Rectangle(width=1.7, length=4.1), Circle(radius=0.8)
add(7, "taxi", box, -1.0, 11.0, 0.0, 0, lambda p: CircleOccupancy(radius=0.5, circle_center=shapely.Point(p)))
add(8, "taxi", box, -1.0, 7.0, 0.2, 0, lambda p: RectOccupancy(shapely.Point(p), width=1, length=2, orientation=0.2))
corners = np.array([(-1, -1), (2, -1), (0, 3)])
add(9, "taxi", disc, 1.0, 6.0, 0.0, 0, lambda p: PolygonOccupancy(shapely.Polygon(corners + p)))
add(11, "truck", TruckShape.create_default(), 0.0, 8.0)
add(12, "truck", SemiTrailerTruckShape.create_default(), 0.0, 8.0)
still = InitialState(0, np.array([50.0, 5.0]), 0.0, velocity=0.0)
scenario.add_objects(StaticObstacle(13, ObstacleType.PARKED_VEHICLE, box, still))
writer = CommonRoadFileWriter(scenario, PlanningProblemSet(), "a", "b", "c", {Tag.HIGHWAY}, file_format=FileFormat.XML)
writer.write_to_file(sys.argv[1], OverwriteExistingFile.ALWAYS)
"""
READ = """
import json, sys
import numpy as np
import shapely
from commonroad.common.file_reader import CommonRoadFileReader

def mid(value):
    return float((value.start + value.end) / 2 if hasattr(value, "start") else value)

def area(part):
    # Its own shapely_object of a circle has half the radius.
    return part.center.buffer(part.radius) if hasattr(part, "radius") else part.shapely_object

scenario, _ = CommonRoadFileReader(sys.argv[1]).open()
rows = []
for obstacle in scenario.dynamic_obstacles:
    shape = obstacle.obstacle_shape
    for state in [obstacle.initial_state, *obstacle.prediction.trajectory.state_list]:
        heading = mid(state.orientation)
        if state.is_uncertain_position:  # its middle, and the size of the vehicle alone
            middle = state.position.center
            exact = type(state)(time_step=0, position=np.array([middle.x, middle.y]), orientation=heading)
        else:
            exact = state
        if "Semi" in type(shape).__name__ and not hasattr(exact, "hitch_angle"):
            object.__setattr__(exact, "hitch_angle", 0.0)
        body = shape.compute_occupancy_for_state(exact)
        parts = body.occupancies if hasattr(body, "occupancies") else [body]
        back, right, front, left = shapely.affinity.rotate(
            shapely.unary_union([area(part) for part in parts]), -heading, (0, 0), use_radians=True).bounds
        along, across = (back + front) / 2, (left + right) / 2
        rows.append({
            "vehicle": str(obstacle.obstacle_id), "cls": obstacle.obstacle_type.value,
            "t": state.time_step * scenario.dt, "length": front - back, "width": left - right,
            "x": along * np.cos(heading) - across * np.sin(heading), "heading": heading,
            "velocity": mid(state.velocity), "acceleration": mid(state.acceleration),
        })
print(json.dumps(rows))
"""
AXIS = "axis=-50 0, 300 0&half_width=30"


def as_2018b(text):
    """The obstacles in the form of 2018b, which no version of commonroad-io that can be had writes."""
    text = text.replace('"2020a"', '"2018b" tags="highway"')
    for role in ("dynamic", "static"):
        text = re.sub(rf"<{role}Obstacle ([^>]*)>", rf"<obstacle \1><role>{role}</role>", text)
        text = text.replace(f"</{role}Obstacle>", "</obstacle>")
    return text


@pytest.fixture(scope="module")
def scenario(tmp_path_factory):
    path = tmp_path_factory.mktemp("commonroad") / "scenario.xml"
    run_peer("commonroad", WRITE, path)
    return path


@pytest.mark.parametrize("version", ["2020a", "2018b"])
def test_states_and_sizes_are_those_of_commonroad_io(tmp_path, scenario, version):
    path = tmp_path / "s.xml"
    path.write_text(scenario.read_text() if version == "2020a" else as_2018b(scenario.read_text()))
    expected = [row for row in json.loads(run_peer("commonroad", READ, path)) if row["cls"] != "pedestrian"]
    source = open_trajectories(f"commonroad:{path}?{AXIS}")
    frame = source.table().frame
    found = {(str(row.vehicle), round(row.t, 6)): row for row in frame.itertuples()}
    assert len(found) == len(frame) == len(expected) == 40
    for row in expected:
        have = found[row["vehicle"], round(row["t"], 6)]
        ahead = np.cos(row["heading"])
        values = {
            "s": 50 + row["x"] + row["length"] / 2,
            "speed": row["velocity"] * ahead,
            "acceleration": row["acceleration"] * ahead,
            "length": row["length"],
            "width": row["width"],
        }
        assert have.cls == row["cls"]
        for name, value in values.items():
            assert getattr(have, name) == pytest.approx(value, abs=2e-4), (row["vehicle"], name)


def test_what_stands_by_its_role_is_no_vehicle_and_pedestrians_only_when_asked_for(scenario):
    everything = open_trajectories(f"commonroad:{scenario}?{AXIS}").table()
    assert not {"6", "13"} & set(everything.vehicles)
    table = open_trajectories(f"commonroad:{scenario}?{AXIS}&classes=pedestrian, bus").table()
    assert set(table.vehicles) == {"4", "6"}


def test_a_two_way_road_and_its_width(scenario):
    source = open_trajectories(f"commonroad:{scenario}?axis=-50 0, 300 0&half_width=2.5&two_way=right")
    frame = source.table().frame
    assert "5" not in set(frame["vehicle"]) and source.problems.counts["off the road"]
    frame = open_trajectories(f"commonroad:{scenario}?{AXIS}&two_way=right").table().frame
    back = frame[frame["vehicle"] == "5"]
    assert set(back["direction"]) == {-1} and back["speed"].to_numpy() == pytest.approx(10, abs=1e-4)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"2020a"', '"2017a"', "is of version '2017a': expected <commonRoad> of version 2018b or 2020a"),
        ('timeStepSize="0.2"', "", "timeStepSize is '', expected the seconds of a step"),
        ("commonRoad", "fcd-export", "is an XML file of <fcd-export>: expected <commonRoad>"),
        ("</commonRoad>", "", "is no complete XML"),
        ("rectangle", "ellipse", "obstacle 1 has no shape: expected a rectangle, circle or polygon"),
    ],
)
def test_another_file_is_refused_with_what_it_is(tmp_path, scenario, old, new, message):
    path = tmp_path / "s.xml"
    path.write_text(scenario.read_text().replace(old, new))
    with pytest.raises(DataError, match=rf"s\.xml.*{message}"):
        open_trajectories(f"commonroad:{path}?{AXIS}").table()
