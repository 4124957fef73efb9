"""Where vehicles are, which way they drive and where their tracks end, on roads that SUMO has driven."""

import gzip

import numpy as np
import pytest

from d2road.synthetic.traffic_incidents import sumo
from d2road.traffic.readers import open_trajectories
from d2road.traffic.readers.sumo_net import route_offsets
from d2road.traffic.time_space.rasterize import rasterize
from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.traffic.vehicle_lengths import length_of_class
from tests.factories.sumo_roads import COUNTRY_ROAD, RING, ROAD, drive, make_net

pytestmark = pytest.mark.skipif(
    sumo.sumo_home() is None,
    reason="SUMO is not installed: the extra `traffic` has it, or SUMO_HOME names it",
)
BOTH_WAYS = (
    '<route id="fwd" edges="in main out"/><route id="back" edges="-out -main"/><route id="side" edges="-side out"/>'
    '<flow id="f" type="car" route="fwd" begin="0" end="40" period="4" departSpeed="max"/>'
    '<flow id="b" type="car" route="back" begin="0" end="40" period="5" departSpeed="max"/>'
    '<vehicle id="s" type="truck" route="side" depart="1"/>'
)
EDGES = "in:0,main:304,out:907.2,-out:0:-1,-main:307.2:-1"
CLASSES = (
    *("passenger", "taxi", "bus", "coach", "delivery", "truck", "trailer", "emergency", "motorcycle", "moped"),
    *("bicycle", "scooter", "pedestrian", "tram", "rail_urban", "rail", "rail_electric", "rail_fast", "ship"),
    *("container", "subway", "aircraft", "wheelchair", "drone", "evehicle", "army", "vip", "private", "hov"),
)
# Node A at the axis' x = 0; the carriageways are some metres below and above y = 200.
AXIS = "0 197, 1200 197"


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    folder = tmp_path_factory.mktemp("road")
    make_net(folder, ROAD)
    drive(folder, BOTH_WAYS, 40, "--fcd-output.acceleration", "true")
    words = ("--fcd-output.attributes", "id,type,x,y,speed,lane", "--fcd-output.acceleration", "true")
    drive(folder, BOTH_WAYS, 40, *words, name="noangle.xml")
    return folder


@pytest.fixture(scope="module")
def country_road(tmp_path_factory):
    """A car overtakes a slow one in the lane of oncoming traffic, in steps of 0.1 and of 1 s."""
    folder = tmp_path_factory.mktemp("country")
    make_net(folder, COUNTRY_ROAD, ("--opposites.guess", "true"), speed=30.0)
    routes = (
        '<vType id="keen" vClass="passenger" lcOpposite="1"/><vType id="slow" vClass="truck" maxSpeed="8"/>'
        '<route id="fwd" edges="fwd"/><route id="back" edges="bwd"/>'
        '<vehicle id="t" type="slow" route="fwd" depart="0"/>'
        '<vehicle id="c" type="keen" route="fwd" depart="8" departSpeed="20"/>'
        '<vehicle id="o" type="car" route="back" depart="60" departSpeed="20"/>'
    )
    for step, name in ((0.1, "fine.xml"), (1, "coarse.xml")):
        drive(folder, routes, 90, "--fcd-output.acceleration", "true", step=step, name=name)
    return folder


def rows_of(table, name):
    return table.frame[table.frame["vehicle"] == name].reset_index(drop=True)


@pytest.mark.parametrize("file", ["fcd.xml", "noangle.xml"])
def test_along_an_axis_each_carriageway_has_its_direction(road, file):
    table = open_trajectories(f"fcd:{road}/{file}?axis={AXIS}").table()
    of_edges = open_trajectories(f"fcd:{road}/fcd.xml?edges={EDGES}").table()
    assert table.directions == [1, -1] and table.frame["speed"].min() > 0
    for name in ("f.0", "b.0"):
        ours, theirs = rows_of(table, name), rows_of(of_edges, name)
        assert set(ours["direction"]) == set(theirs["direction"]) == {1 if name == "f.0" else -1}
        # The same places by x as by lanes, where there are lanes: edges without junctions have holes.
        s = np.interp(theirs["t"], ours["t"], ours["s"])
        assert s == pytest.approx(theirs["s"].to_numpy(), abs=0.02)
        assert ours["speed"].to_numpy()[:50] == pytest.approx(theirs["speed"].to_numpy()[:50])
        assert ours["acceleration"].to_numpy()[:50] == pytest.approx(theirs["acceleration"].to_numpy()[:50])


def test_along_an_axis_who_is_beside_or_across_the_road_is_off_it(road):
    source = open_trajectories(f"fcd:{road}/fcd.xml?axis={AXIS}")
    truck = rows_of(source.table(), "s")
    assert truck["speed"].min() > 5 and np.ptp(truck["s"]) > 250  # not while it waited in the side street
    assert source.problems.counts["off the road"] + source.problems.kept == source.problems.rows
    narrow = open_trajectories(f"fcd:{road}/fcd.xml?axis={AXIS}&half_width=3").table()
    assert narrow.directions == [1]


def test_along_an_axis_sides_of_the_road_can_say_the_direction(road):
    by_side = open_trajectories(f"fcd:{road}/fcd.xml?axis=0 200, 1200 200&two_way=right").table().frame
    by_heading = open_trajectories(f"fcd:{road}/fcd.xml?axis=0 200, 1200 200").table().frame
    straight = (by_heading["vehicle"] != "s").to_numpy()
    assert (by_side["direction"] == by_heading["direction"])[straight].all() and len(by_side) == len(by_heading)
    wrong = open_trajectories(f"fcd:{road}/fcd.xml?axis=0 200, 1200 200&two_way=left").table().frame
    assert (wrong["speed"][straight] < 0).all()
    one_way = rows_of(open_trajectories(f"fcd:{road}/fcd.xml?axis=0 200, 1200 200&two_way=").table(), "b.0")
    there = rows_of(open_trajectories(f"fcd:{road}/fcd.xml?axis=0 200, 1200 200").table(), "b.0")
    assert set(one_way["direction"]) == {1} and (one_way["speed"] == -there["speed"]).all()
    # The front is ahead in the direction of motion: the body reaches up from it.
    assert (one_way["s"] - one_way["length"]).to_numpy() == pytest.approx((1200 - there["s"]).to_numpy(), abs=1e-3)
    assert (one_way["acceleration"] == -there["acceleration"]).all()


@pytest.mark.parametrize(("file", "step"), [("fine.xml", 0.1), ("coarse.xml", 1.0)])
@pytest.mark.parametrize("where", ["edges=fwd:0,bwd:0:-1", "axis=0 0, 2000 0&two_way=right"])
@pytest.mark.parametrize("seconds", [60.0, 2.0])
def test_overtaking_in_the_oncoming_lane_is_driving_backwards_there(country_road, file, step, where, seconds):
    source = open_trajectories(f"fcd:{country_road}/{file}?{where}")
    frames = [chunk.frame for chunk in source.chunks(seconds)]
    car = np.concatenate([f[f["vehicle"] == "c"][list("ts")].to_numpy() for f in frames])
    parts = [f[f["vehicle"] == "c"][["direction", "speed", "acceleration", "length"]].to_numpy() for f in frames]
    direction, speed, acceleration, length = np.concatenate(parts).T
    text = (country_road / file).read_text()
    lines = [line for line in text.splitlines() if 'id="c"' in line]
    x, truth, change = (np.array([float(line.split(f' {n}="')[1].split('"')[0]) for line in lines]) for n in
                        ("x", "speed", "acceleration"))  # fmt: skip
    there = np.array(['lane="bwd' in line for line in lines])
    assert 4 <= there.sum() * step < len(lines)
    assert (direction == np.where(there, -1, 1)).all()
    assert speed == pytest.approx(np.where(there, -truth, truth))
    assert acceleration == pytest.approx(np.where(there, -change, change))
    # Its front in the direction in which it drives is where SUMO has it; s is the upper end of the body.
    assert car[:, 1] == pytest.approx(np.where(there, 2000 - x + length, x), abs=0.02)


def test_nothing_is_drawn_between_the_two_directions_of_one_vehicle(country_road):
    for file in ("fine.xml", "coarse.xml"):
        table = open_trajectories(f"fcd:{country_road}/{file}?edges=fwd:0,bwd:0:-1").table().select(vehicles=["c"])
        frame = table.frame
        image = TimeSpaceRenderer(size=(1000, 256)).render(table, 0.0, 0.0, direction=1)
        drawn = np.flatnonzero(image.any(2))
        assert len(drawn)
        low, high = (frame[frame["t"] < 27]["s"][frame["direction"] == 1].agg(f) for f in ("min", "max"))
        rows = 1000 - 1 - drawn // 256
        assert rows.min() * 2 >= low - 7 and rows.max() * 2 <= high + 2
        segments = rasterize(table, 0.0, 900, 0.1)
        # From each sample on it drives as fast as it is, and not over to the other direction.
        order = np.argsort(frame["vehicle"].cat.codes.to_numpy(), kind="stable")
        assert np.abs(segments.front - frame["s"].to_numpy()[order][segments.row]).max() < 30


def test_a_teleport_within_a_step_is_a_gap(tmp_path):
    make_net(tmp_path, ROAD)
    stops = "".join(
        f'<vehicle id="b{i}" type="car" route="fwd" depart="{i}" departSpeed="max" departLane="{min(i, 1)}">'
        f'<stop lane="main_{i}" endPos="300" duration="500"/></vehicle>'
        for i in range(3)
    )
    stops += '<vehicle id="c" type="car" route="fwd" depart="6" departSpeed="max"/>'
    route = '<route id="fwd" edges="in main out"/>'
    path = drive(tmp_path, route + stops, 100, "--time-to-teleport", "20", step=1)
    source = open_trajectories(f"fcd:{path}?net={tmp_path}/net.xml&route=in main out")
    table = source.table()
    car = rows_of(table, "c")
    last = int(np.flatnonzero(np.diff(car["s"]) > 100)[0])
    assert car["t"][last + 1] - car["t"][last] == 1  # it is back in the step after the one in which it waited
    assert source.problems.counts["gap"] == 1
    assert "vehicle c is 316.2 m from where it was 1 s before" in source.problems.report()
    assert np.abs(car["acceleration"]).max() < 10
    segments = rasterize(table.select(vehicles=["c"]), car["t"][last] - 2, 60, 0.1)
    assert not ((segments.front > car["s"][last] + 1) & (segments.front < car["s"][last + 1] - 1)).any()


@pytest.mark.parametrize("step", [0.1, 1.0])
def test_a_route_that_begins_anew_on_a_ring_is_a_gap(tmp_path, step):
    net = make_net(tmp_path, RING, speed=15.0)
    route = '<route id="r" edges="ab bc cd da" repeat="3"/><vehicle id="c" type="car" route="r" depart="0"/>'
    path = drive(tmp_path, route, 300, step=step)
    edges = route_offsets(net, ["ab", "bc", "cd", "da"])
    table = open_trajectories(f"fcd:{path}", edges=",".join(f"{e}:{at}" for e, at in edges.items())).table()
    assert table.frame["speed"].min() >= 0
    segments = rasterize(table, 0.0, 3000, 0.1)
    # No step of a tenth of a second but those back to the start is longer than a car drives in it.
    moved = np.diff(segments.front)[np.diff(segments.column) == 1]
    assert ((moved > -0.1) & (moved < 2)).sum() >= len(moved) - 3 and moved.max() < 2
    assert (np.diff(segments.front) < -500).sum() == 3


def test_degrees_and_an_axis_in_metres_are_an_error_that_says_so(tmp_path):
    nodes = {"A": (13.38, 52.52), "B": (13.3844, 52.52), "C": (13.3933, 52.52), "D": (13.3977, 52.52)}
    make_net(tmp_path, ({**nodes, "S": (13.3933, 52.518)}, ROAD[1]), ("--proj.utm",))
    drive(tmp_path, BOTH_WAYS, 20, name="metres.xml")
    drive(tmp_path, BOTH_WAYS, 20, "--fcd-output.geo", name="geo.xml")
    drive(tmp_path, BOTH_WAYS, 20, "--fcd-output.utm", name="utm.xml")
    # Near to x, y in degrees, and far from them.
    for axis in ("0 50, 1200 50", AXIS):
        with pytest.raises(
            ValueError, match=r"x and y are degrees of longitude and latitude \(x 13.38.*without --fcd-"
        ):
            open_trajectories(f"fcd:{tmp_path}/geo.xml?axis={axis}").table()
    for file in ("metres.xml", "geo.xml"):
        with pytest.raises(ValueError, match=r"it is 0.0177 m long, expected metres. Degrees"):
            open_trajectories(f"fcd:{tmp_path}/{file}?axis=13.38 52.52, 13.3977 52.52")
    with pytest.raises(
        ValueError, match=r"no row is left. Its positions are x 39\d{4}.*The axis leads from \(0, 197\)"
    ):
        open_trajectories(f"fcd:{tmp_path}/utm.xml?axis={AXIS}").table()
    # Degrees with metres are places: those of the network's own metres.
    by_degrees = open_trajectories(f"fcd:{tmp_path}/geo.xml?axis=13.38 52.52 0, 13.3977 52.52 1200.86").table()
    by_metres = open_trajectories(f"fcd:{tmp_path}/metres.xml?axis=0 242.61, 1200.86 215.81").table()
    by_degrees, by_metres = (part.select(vehicles=["f.0", "f.1", "b.0"]).frame for part in (by_degrees, by_metres))
    assert (by_degrees["direction"] == by_metres["direction"]).all()
    assert by_degrees["s"].to_numpy() == pytest.approx(by_metres["s"].to_numpy(), abs=1)


def test_a_table_without_rows_is_an_error_with_the_edges_of_the_file(road):
    with pytest.raises(ValueError, match=r"no row is left. The file has the edges .*main \(\d+ rows\)"):
        open_trajectories(f"fcd:{road}/fcd.xml?edges=mian:0").table()
    with pytest.raises(ValueError, match=r"no row is left. .*t is 0 to 39.9 s: none of it is between start and end"):
        open_trajectories(f"fcd:{road}/fcd.xml?edges={EDGES}&start=100").table()
    source = open_trajectories(f"fcd:{road}/fcd.xml?edges=in:0,mian:304")
    assert len(source.table()) and "edges left out: main (" in source.problems.report()


def test_the_report_names_the_inner_edges_that_close_the_holes(road):
    source = open_trajectories(f"fcd:{road}/fcd.xml?edges={EDGES}")
    source.table()
    closing = "in:0,:B_1:296,main:304,:C_8:892.8,out:907.2,-out:0:-1,:C_0:292.8:-1,-main:307.2:-1"
    assert source.problems.report().endswith(f"these edges close them: edges={closing}")
    closed = open_trajectories(f"fcd:{road}/fcd.xml?edges={closing}")
    closed.table()
    assert source.problems.counts["gap"] > 10 and "gap" not in closed.problems.counts
    # As the network has them.
    truth = route_offsets(road / "net.xml", ["in", "main", "out"])
    assert (truth[":B_1"], truth["in"]) == (296, 0)


def test_assumed_lengths_are_those_of_sumo_and_are_reported(road, tmp_path):
    types = "".join(f'<vType id="{name}" vClass="{name}"/>' for name in CLASSES)
    (tmp_path / "t.add.xml").write_text(f"<additional>{types}</additional>")
    with sumo.controlled(["-n", str(road / "net.xml"), "-a", "t.add.xml", "--no-step-log"], tmp_path) as connection:
        connection.simulationStep()
        theirs = {t: connection.vehicletype.getLength(t) for t in connection.vehicletype.getIDList()}
    assert set(CLASSES) < set(theirs) and {name: length_of_class(name) for name in theirs} == theirs
    assert (length_of_class("van"), length_of_class("truck@b.3"), length_of_class("township_car")) == (6.5, 7.1, 5.0)
    source = open_trajectories(f"fcd:{road}/fcd.xml?edges={EDGES}")
    lengths = source.table().frame.groupby("cls", observed=True)["length"].first()
    assert (lengths["car"], lengths["truck"]) == (5.0, np.float32(7.1))
    report = source.problems.report()
    assert source.problems.counts["assumed length"] == source.problems.kept
    assert report.count("car: 5 m") == report.count("truck: 7.1 m") == 1
    given = open_trajectories(f"fcd:{road}/fcd.xml?edges={EDGES}&lengths=car:4.2,truck:9")
    assert set(given.table().frame["length"]) == {np.float32(4.2), 9} and "assumed length" not in given.problems.counts


def test_a_file_of_trains_is_no_slip_of_units(road, tmp_path):
    text = (road / "fcd.xml").read_text().replace('type="car"', 'type="rail_electric"')
    with gzip.open(tmp_path / "fcd.xml.gz", "wt") as file:
        file.write(text)
    source = open_trajectories(f"fcd:{tmp_path}/fcd.xml.gz?edges={EDGES}")
    assert source.table().frame["length"].max() == 200 and "units" not in source.problems.counts
