"""What stands in place of a table: nothing, binary, another encoding, a pipe or device; refused at once, and by name.

No program writes these on purpose: they are what is left of copies, exports and mistakes.
"""

import os
import pickle
import signal

import pytest

from d2road.traffic.readers import open_trajectories
from d2road.traffic.readers.ft_aed import read_ft_aed
from tests.factories.sumo_fcd import sumo_fcd

TEXT = "frame,id,x\n1,2,3\n2,2,4\n"
BYTES = {
    "empty": b"",
    "line_of_names": b"frame,id,x\n",
    "blank_lines": b"\n\n\n",
    "zero_bytes": TEXT.encode() + b"\0\0\0\n",
    "utf16": TEXT.encode("utf-16"),
    "utf32": TEXT.encode("utf-32"),
    "utf32_big_endian": b"\0\0\xfe\xff" + TEXT.encode("utf-32-be"),
    "latin1": TEXT.replace("2,4", "\xe9,4").encode("latin1"),
    "pickle": pickle.dumps({"frame": list(range(3000))}),
    "zip": b"PK\x03\x04" + TEXT.encode(),
    "binary_line_without_end": b"\x80" * (1 << 20),
    "text_line_without_end": b"1" * (1 << 25),
}
FORMS = [*BYTES, "sparse", "pipe", "device", "folder", "loop_of_links"]
# Where it stands: the reader and its options, and the file's name.
TABLES = {
    "fcd": ("fcd:{path}", "a.csv"),
    "fcd_xml": ("fcd:{path}", "a.xml"),
    "fcd_parquet": ("fcd:{path}", "a.parquet"),
    "commonroad": ("commonroad:{path}?axis=0 0, 9 0", "a.xml"),
    "csv": ("csv:{path}", "a.csv"),
    "parquet": ("parquet:{path}", "a.parquet"),
    "ngsim": ("ngsim:{path}", "a.csv"),
    "ngsim_pairs": ("ngsim_pairs:{path}", "a.parquet"),
    "mot": ("mot:{path}?frame_rate=10&axis=0 0 0, 9 0 9", "gt.txt"),
    "highd": ("highd:{folder}", "01_tracks.csv"),
    "highd_recording": ("highd:{folder}", "01_recordingMeta.csv"),
    "highd_vehicles": ("highd:{folder}", "01_tracksMeta.csv"),
    "ind": ("ind:{folder}?axis=0 0, 9 0", "01_tracks.csv"),
    "ind_recording": ("ind:{folder}?axis=0 0, 9 0", "01_recordingMeta.csv"),
    "ind_vehicles": ("ind:{folder}?axis=0 0, 9 0", "01_tracksMeta.csv"),
    "net": ("fcd:{fcd}?net={path}&route=in main", "n.net.xml"),
    "net_gz": ("fcd:{fcd}?net={path}&route=in main", "n.net.xml.gz"),
}
BESIDE = {
    "01_tracks.csv": "id,trackId,frame,x,xCenter,yCenter,width,height,length,xVelocity,yVelocity,"
    "xAcceleration,laneId\n",
    "01_recordingMeta.csv": "frameRate,upperLaneMarkings,lowerLaneMarkings\n25,1;2;3,4;5;6\n",
    "01_tracksMeta.csv": "id,trackId,class,drivingDirection\n1,1,Car,2\n",
}


@pytest.fixture
def at_once():
    """The test fails after 5 s, also where the system waits."""

    def fail(*_args):
        raise AssertionError("not refused at once")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def put(path, form):
    path.unlink(missing_ok=True)
    if form in BYTES:
        path.write_bytes(BYTES[form])
    elif form == "sparse":
        with open(path, "wb") as file:
            file.truncate(1 << 40)
    elif form == "pipe":
        os.mkfifo(path)
    elif form == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if form == "device" else path.name)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("table", TABLES)
def test_what_is_no_table_is_refused_at_once_and_by_name(tmp_path, at_once, table, form):
    spec, name = TABLES[table]
    (tmp_path / "fcd.xml").write_bytes(sumo_fcd("xml", seconds=5))
    folder = tmp_path / "folder"
    folder.mkdir()
    for other, text in BESIDE.items() if "{folder}" in spec else ():
        (folder / other).write_text(text)
    put(folder / name, form)
    with pytest.raises((ValueError, OSError)) as caught:
        open_trajectories(spec.format(path=folder / name, folder=folder, fcd=tmp_path / "fcd.xml")).table()
    named = folder if form == "line_of_names" and name == "01_tracks.csv" else name
    assert str(named) in str(caught.value)


@pytest.mark.parametrize("form", FORMS)
def test_sensors_are_refused_at_once_and_by_name_where_there_is_no_table(tmp_path, at_once, form):
    put(tmp_path / "sensors.csv", form)
    with pytest.raises((ValueError, OSError), match=r"sensors\.csv"):
        read_ft_aed(tmp_path / "sensors.csv")
