"""Each reader on a small file in its real format."""

import json

import numpy as np
import pandas as pd
import pytest

from d2road.traffic.readers import READERS, open_trajectories
from d2road.traffic.readers.axis import RoadAxis

HIGHD = (
    "frame,id,x,y,width,height,xVelocity,yVelocity,xAcceleration,yAcceleration,frontSightDistance,backSightDistance,"
    "dhw,thw,ttc,precedingXVelocity,precedingId,followingId,leftPrecedingId,leftAlongsideId,leftFollowingId,"
    "rightPrecedingId,rightAlongsideId,rightFollowingId,laneId\n"
)
IND = (
    "recordingId,trackId,frame,trackLifetime,xCenter,yCenter,heading,width,length,xVelocity,yVelocity,xAcceleration,"
    "yAcceleration,lonVelocity,latVelocity,lonAcceleration,latAcceleration"
)


def write_highd(folder, rows, name="01", lanes=("8.5;12.5;16.0", "21.0;25.0;29.0")):
    tail = ",0.0" * 14
    lines = [
        f"{frame},{v},{x},20.0,{width},1.9,{speed},0.1,{acc},0.0{tail},{lane}\n"
        for frame, v, x, width, speed, acc, lane in rows
    ]
    (folder / f"{name}_tracks.csv").write_text(HIGHD + "".join(lines))
    meta = "id,width,height,initialFrame,finalFrame,numFrames,class,drivingDirection,traveledDistance\n"
    (folder / f"{name}_tracksMeta.csv").write_text(meta + "1,4.5,1.9,1,3,3,Car,2,3\n2,12.0,1.9,1,3,3,Truck,1,3\n")
    (folder / f"{name}_recordingMeta.csv").write_text(
        "id,frameRate,locationId,upperLaneMarkings,lowerLaneMarkings\n" + f"1,25,2,{lanes[0]},{lanes[1]}\n"
    )


HIGHD_ROWS = [
    *((f, 1, 100.0 + 1.2 * f, 4.5, 30.0, 0.3, 6) for f in (1, 2, 3)),
    *((f, 2, 200.0 - 0.8 * f, 12.0, -20.0, 0.4, 2) for f in (1, 2, 3)),
]


def test_highd_fronts_signs_and_lanes(tmp_path):
    write_highd(tmp_path, HIGHD_ROWS)
    source = open_trajectories(f"highd:{tmp_path}")
    frame = source.table().frame
    car, truck = (frame[frame["vehicle"] == v].reset_index() for v in ("1", "2"))
    assert car["t"].tolist() == pytest.approx([0.04, 0.08, 0.12])
    assert car["s"].tolist() == pytest.approx([105.7, 106.9, 108.1])  # x + its length
    assert truck["s"].tolist() == pytest.approx([220.8, 221.6, 222.4])  # 420 m - x of its left end, its front
    assert car[["direction", "cls", "lane", "length"]].iloc[0].tolist() == [1, "car", "6", 4.5]
    assert truck[["direction", "cls", "lane", "length"]].iloc[0].tolist() == [-1, "truck", "2", 12.0]
    assert truck["speed"].tolist() == pytest.approx([20, 20, 20])  # both drive as they should
    assert truck["acceleration"].tolist() == pytest.approx([-0.4] * 3)
    assert car["width"].tolist() == pytest.approx([1.9] * 3)
    assert source.problems.counts == {} and frame["recording"].unique().tolist() == ["01"]


def test_highd_folder_gives_each_recording_and_unknown_lanes_are_counted(tmp_path):
    write_highd(tmp_path, HIGHD_ROWS)
    write_highd(tmp_path, [(*row[:-1], 4) for row in HIGHD_ROWS], name="02")  # 4: the ground between the carriageways
    source = open_trajectories(f"highd:{tmp_path}")
    assert source.table().recordings == ["01", "02"]
    assert source.problems.counts == {"unknown lane": 6}
    assert str(source.problems.examples["unknown lane"][0]) == ("02_tracks.csv, row 2: lane 4 is not among 2, 3, 5, 6")


def test_highd_without_meta_says_which_file(tmp_path):
    write_highd(tmp_path, HIGHD_ROWS)
    (tmp_path / "01_tracksMeta.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"01_tracksMeta.csv does not exist"):
        open_trajectories(f"highd:{tmp_path / '01_tracks.csv'}").table()


def write_ind(folder, header, rows):
    (folder / "07_tracks.csv").write_text("\n".join([header, *rows]) + "\n")
    (folder / "07_tracksMeta.csv").write_text(
        "recordingId,trackId,initialFrame,finalFrame,numFrames,width,length,class\n"
        "7,0,0,2,3,1.8,4,car\n7,1,0,2,3,1.8,4,car\n7,2,0,2,3,0,0,pedestrian\n"
    )
    (folder / "07_recordingMeta.csv").write_text("recordingId,locationId,frameRate\n7,1,25.0\n")


def ind_row(track, frame, x, y, vx, vy, tail="", size=("1.8", "4.0")):
    return f"7,{track},{frame},{frame},{x},{y},45,{size[0]},{size[1]},{vx},{vy},0.5,0.5,0,0,0,0{tail}"


def test_ind_is_projected_on_the_axis(tmp_path):
    # The axis leads to the north-east; the second vehicle drives against it on the other side.
    rows = [ind_row(0, f, 10 + f, 9 + f, 8, 8) for f in range(3)]
    rows += [ind_row(1, f, 40 - f, 41 - f, -8, -8) for f in range(3)]
    rows += [ind_row(2, f, 10, 10, 1, 1, size=("0", "0")) for f in range(3)]
    write_ind(tmp_path, IND, rows)
    spec = f"ind:{tmp_path}?axis=0 0, 100 100"
    frame = open_trajectories(spec, two_way="right").table().frame
    ahead, back = (frame[frame["vehicle"] == v].reset_index() for v in ("0", "1"))
    root = np.sqrt(2)
    assert ahead["s"].tolist() == pytest.approx([9.5 * root + 2, 10.5 * root + 2, 11.5 * root + 2])
    assert back["s"].tolist() == pytest.approx([59.5 * root + 2, 60.5 * root + 2, 61.5 * root + 2])
    assert ahead["direction"].tolist() == [1] * 3 and back["direction"].tolist() == [-1] * 3
    assert np.concatenate([ahead["speed"], back["speed"]]) == pytest.approx(8 * root)
    assert ahead["acceleration"].tolist() == pytest.approx([0.5 * root] * 3)
    assert set(frame["vehicle"]) == {"0", "1"}  # pedestrians are no vehicles

    wrong = open_trajectories(spec).table().frame  # on a one-way road the second one is driving the wrong way
    assert wrong[wrong["vehicle"] == "1"]["speed"].to_numpy() == pytest.approx(-8 * root)


def test_ind_lanes_and_what_is_beside_the_road(tmp_path):
    rows = [ind_row(0, f, 10 + f, 1.5, 25, 0) for f in range(3)] + [ind_row(1, f, 10 + f, 30, 25, 0) for f in range(3)]
    write_ind(tmp_path, IND, rows)
    source = open_trajectories(f"ind:{tmp_path}", axis="0 0, 100 0", lane_edges="-3.5, 0, 3.5")
    frame = source.table().frame
    assert frame["lane"].tolist() == ["2"] * 3
    assert source.problems.counts == {"off the road": 3} and source.problems.rows == 6


def test_exid_takes_the_first_lanelet(tmp_path):
    header = IND + ",traveledDistance,latLaneCenterOffset,laneWidth,laneletId,laneChange,lonLaneletPos"
    tails = (",0,0,3.5,1489,0,1", ",0,0,3.5,1489;1500,1,1", ",0,0,3.5,1500,0,1")
    write_ind(tmp_path, header, [ind_row(0, f, 10 + f, 1.5, 25, 0, tail) for f, tail in enumerate(tails)])
    frame = open_trajectories(f"exid:{tmp_path}", axis="0 0, 100 0").table().frame
    assert frame["lane"].tolist() == ["1489", "1489", "1500"]


def test_an_axis_is_needed_and_says_how(tmp_path):
    write_ind(tmp_path, IND, [ind_row(0, 0, 10, 10, 8, 8)])
    with pytest.raises(ValueError, match='axis="x y, x y" or a JSON file'):
        open_trajectories(f"round:{tmp_path}")


def ngsim_rows(count=40):
    """A car at 30 ft/s and its noise; lengths and speeds in feet."""
    rng = np.random.default_rng(0)
    y = 100 + 3.0 * np.arange(count) + rng.normal(0, 0.5, count)
    tail = (6042842.1, 2133117.7, 14.3, 6.4, 2, 30.0, 1.0, 2, 0, 13, 0.0, 0.0)
    return [(7, 100 + i, count, 1113433136000 + 100 * i, 16.4, y[i], *tail) for i in range(count)]


def test_ngsim_text_in_feet(tmp_path):
    rows = ngsim_rows()
    path = tmp_path / "trajectories-0400-0415.txt"
    path.write_text("\n".join("   ".join(map(str, row)) for row in rows) + "\n")
    raw = open_trajectories(f"ngsim:{path}?smooth=0").table().frame
    assert raw["s"].to_numpy() == pytest.approx(np.array([row[5] for row in rows]) * 0.3048)
    first = raw.iloc[0]
    assert (first["t"], first["speed"], first["length"], first["width"], first["cls"], first["lane"]) == pytest.approx(
        (10.0, 30 * 0.3048, 14.3 * 0.3048, 6.4 * 0.3048, "car", "2")
    )
    smooth = open_trajectories(f"ngsim:{path}").table().frame
    truth = 30 * 0.3048
    assert np.abs(smooth["speed"] - truth).mean() < 0.4 * np.abs(np.gradient(raw["s"], 0.1) - truth).mean()


def test_ngsim_portal_csv_of_several_places(tmp_path):
    path = tmp_path / "ngsim.csv"
    names = (
        "Vehicle_ID,Frame_ID,Total_Frames,Global_Time,Local_X,Local_Y,Global_X,Global_Y,v_length,v_Width,v_Class,v_Vel,"
        "v_Acc,Lane_ID,Preceding,Following,Space_Headway,Time_Headway,Location"
    )
    rows = [(*row, place) for place in ("i-80", "us-101") for row in ngsim_rows(5)]
    path.write_text("\n".join([names, *(",".join(map(str, row)) for row in rows)]) + "\n")
    with pytest.raises(ValueError, match="locations i-80, us-101: choose one"):
        open_trajectories(f"ngsim:{path}").table()
    table = open_trajectories(f"ngsim:{path}?location=us-101&smooth=0").table()
    assert len(table) == 5 and table.recordings == ["us-101"]


def test_ngsim_in_the_wrong_unit_is_given_up(tmp_path):
    path = tmp_path / "feet.txt"
    path.write_text("\n".join(" ".join(map(str, row)) for row in ngsim_rows()) + "\n")
    with pytest.raises(ValueError, match=r"width is 6.4 m, above 4"):
        open_trajectories(f"ngsim:{path}?units=metres").table()


def test_ngsim_pairs_have_both_vehicles_once(shared_dir):
    path = shared_dir / "data" / "ngsim_i80" / "i80_0400_0415_pairs.parquet"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    pairs = pd.read_parquet(path)
    source = open_trajectories(f"ngsim_pairs:{path}?smooth=0")
    table = source.table()
    vehicles = set(pairs["vehicle_id"].astype(str)) | set(pairs["preceding"].astype(str))
    assert set(table.vehicles) == vehicles
    both = [
        pairs[["vehicle_id", "frame_id"]].astype(float).to_numpy(),
        pairs[["preceding", "frame_id"]].astype(float).to_numpy(),
    ]
    assert len(table) == len(np.unique(np.concatenate(both), axis=0))
    row = pairs.iloc[1234]
    frame = table.frame
    for name, s in ((row["vehicle_id"], row["local_y"]), (row["preceding"], row["preceding_local_y"])):
        match = frame[(frame["vehicle"] == str(name)) & np.isclose(frame["t"], row["frame_id"] / 10)]
        assert match["s"].item() == pytest.approx(s)
    assert "units" not in source.problems.counts


def mot_lines(centers, width=20.0, height=10.0):
    return [
        f"{frame},{track},{x - width / 2},{y - height},{width},{height},{conf},-1,-1,-1"
        for frame, track, x, y, conf in centers
    ]


def test_mot_by_an_axis_in_the_image(tmp_path):
    (tmp_path / "gt").mkdir()
    (tmp_path / "seqinfo.ini").write_text("[Sequence]\nname=cam\nframeRate=10\nseqLength=30\n")
    # The road goes up the image: 400 px are 100 m in its lower and 100 px in its upper half.
    lower = [(f + 1, 3, 320, 700 - 4 * f, 1) for f in range(30)]
    ignored = [(f + 1, 4, 320, 600, 0) for f in range(30)]
    path = tmp_path / "gt" / "gt.txt"
    path.write_text("\n".join(mot_lines(lower + ignored)) + "\n")
    frame = open_trajectories(f"mot:{path}?axis=320 700 0, 320 300 100, 320 200 200", half_width=50).table().frame
    assert set(frame["vehicle"]) == {"3"} and frame["t"].tolist() == pytest.approx([0.1 * i for i in range(30)])
    assert frame["s"].to_numpy() == pytest.approx(np.arange(30) + 4.5 / 2, abs=1e-6)
    assert frame["speed"].to_numpy() == pytest.approx(10, abs=1e-3)


def test_mot_by_a_homography(tmp_path):
    # Pixel -> ground: x = u / 10, y = v / 10, then divided by 1 + v / 1000.
    matrix = np.array([[0.1, 0, 0], [0, 0.1, 0], [0, 0.001, 1]])
    (tmp_path / "h.json").write_text(json.dumps(matrix.tolist()))
    ground = np.array([(10 + 2.0 * i, 20.0) for i in range(20)])
    pixels = np.column_stack([ground, np.ones(20)]) @ np.linalg.inv(matrix).T
    pixels = pixels[:, :2] / pixels[:, 2:]
    path = tmp_path / "tracks.txt"
    path.write_text("\n".join(mot_lines([(i + 1, 1, u, v, 0.9) for i, (u, v) in enumerate(pixels)])) + "\n")
    source = open_trajectories(f"mot:{path}", homography=str(tmp_path / "h.json"), axis="0 20, 100 20", frame_rate=10)
    frame = source.table().frame
    assert frame["s"].to_numpy() == pytest.approx(ground[:, 0] + 2.25, abs=1e-6)
    assert frame["speed"].to_numpy() == pytest.approx(20, abs=1e-3)
    with pytest.raises(ValueError, match=r"seqinfo.ini above .* frame_rate="):
        open_trajectories(f"mot:{path}", axis="0 20 0, 100 20 9")


def test_csv_with_a_column_map_and_units(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("when;car;km;velocity\n0;a;1.0;36\n500;a;1.005;36\n1000;a;1.010;36\n")
    source = open_trajectories(
        f"csv:{path}?columns=t=when,vehicle=car,s=km,speed=velocity&units=t=ms,s=km,speed=km/h&direction=-1"
    )
    frame = source.table().frame
    assert frame["t"].tolist() == [0, 0.5, 1.0] and frame["s"].tolist() == pytest.approx([1000, 1005, 1010])
    assert frame["speed"].tolist() == pytest.approx([10, 10, 10])
    assert frame["acceleration"].tolist() == pytest.approx([0, 0, 0])
    assert frame["direction"].tolist() == [-1] * 3 and set(frame["recording"]) == {"own"}
    assert source.problems.counts == {"assumed length": 3}


def test_csv_speeds_come_from_positions_where_there_are_none(tmp_path):
    path = tmp_path / "own.csv"
    t = np.arange(0, 5, 0.1)
    pd.DataFrame({"vehicle": "x", "t": t, "s": 3 + 8 * t + t**2, "length": 4}).to_csv(path, index=False)
    frame = open_trajectories(path).table().frame
    assert frame["speed"].to_numpy()[1:-1] == pytest.approx((8 + 2 * t)[1:-1], abs=1e-4)
    assert frame["acceleration"].to_numpy()[2:-2] == pytest.approx(2, abs=1e-3)


def test_csv_of_several_recordings(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text(
        "recording,vehicle,t,s,length,speed\n" + "".join(f"{r},1,{t},{t},4,1\n" for t in range(3) for r in "ab")
    )
    table = open_trajectories(path).table()
    assert table.recordings == ["a", "b"] and len(table) == 6


def test_parquet_of_the_table_itself(tmp_path):
    write_highd(tmp_path, HIGHD_ROWS)
    write_highd(tmp_path, HIGHD_ROWS, name="02")
    table = open_trajectories(f"highd:{tmp_path}").table()
    table.to_parquet(tmp_path / "all.parquet")
    again = open_trajectories(tmp_path / "all.parquet").table()
    names = ["recording", "vehicle", "cls", "lane"]
    pd.testing.assert_frame_equal(
        again.frame.astype(dict.fromkeys(names, str)), table.frame.astype(dict.fromkeys(names, str))
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hihgd:x", "trajectory reader 'hihgd' does not exist; did you mean 'highd'"),
        ("csv:{f}?colums=t=a", "no option 'colums'; it has columns, decimal, direction"),
        ("csv:{f}?columns=time=a", "column 'time' does not exist"),
        ("csv:{f}?columns=t", "expected NAME=VALUE"),
        ("csv:{f}?columns=t=s", "a column of the file serves twice"),
        ("csv:{f}?units=t=parsec", "units of t is 'parsec', expected one of s, ms"),
        ("csv:{f}?ordered=maybe", "ordered is 'maybe', expected bool"),
        ("csv:{f}?limit=much", "limit is 'much', expected float"),
        ("csv:{f}", "lacks the columns vehicle, t, s; it has a, b"),
        ("{f}.dat", "does not say how to read it: use READER:PATH with one of commonroad, csv, exid"),
        ("ngsim:{f}?units=yards", "expected 'feet' or 'metres'"),
    ],
)
def test_messages(tmp_path, spec, message):
    path = tmp_path / "f.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=message):
        open_trajectories(spec.format(f=path)).table()


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        open_trajectories(f"csv:{tmp_path / 'none.csv'}")
    (tmp_path / "empty.csv").write_text("vehicle,t,s\n")
    with pytest.raises(ValueError, match="holds no rows"):
        open_trajectories(tmp_path / "empty.csv").table()


def test_all_readers_have_names():
    assert {"highd", "ind", "round", "exid", "ngsim", "ngsim_pairs", "fcd", "mot", "csv", "parquet"} <= set(
        READERS.names()
    )


def test_axis_places_points_of_a_bend():
    axis = RoadAxis.of("0 0, 100 0, 100 50")
    s, lateral, along = axis.place(np.array([[50.0, 2], [98, 20], [-5, 0], [100, 60], [103, -4]]))
    assert s[:2].tolist() == [50, 120] and np.isnan(s[2:4]).all() and s[4] == 100
    assert lateral[:2].tolist() == [2, 2] and lateral[4] == pytest.approx(-5)
    assert along[0].tolist() == [1, 0] and along[1].tolist() == [0, 1]
    assert axis.length == 150
