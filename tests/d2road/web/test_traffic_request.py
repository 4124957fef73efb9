"""The tab Traffic: alarms and scores of `d2road score-stream`, drawn, and readers that read no other file."""

import csv

import cv2
import pandas as pd
import pytest

from d2road.cli import score_stream
from d2road.utils.errors import ConfigError, DataError
from d2road.web.result_files import ResultFolders
from d2road.web.traffic_request import TrafficUpload, TrafficWindows, inspect_traffic
from d2road.web.uploads import UploadLimits
from tests.factories.stream_fcd import write_fcd

GRID = ["TIME_SPACE.S_RANGE", "(0, 512)", "TIME_SPACE.STRIDE", "1.0"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Traffic in which a vehicle x stands from 60 to 90 s, and the same without it."""
    folder = tmp_path_factory.mktemp("traffic")
    text = write_fcd(folder / "live.xml")
    good = "\n".join(line for line in text.splitlines() if 'id="x"' not in line)
    (folder / "good.xml").write_text(good + "\n")
    return folder


@pytest.fixture(scope="module")
def windows():
    return TrafficWindows(GRID)


def test_alarms_and_scores_are_those_of_the_command(files, windows, tmp_path, capsys):
    line = ["--method", "rules", "--good", f"fcd:{files}/good.xml", "--input", f"fcd:{files}/live.xml"]
    assert score_stream.main([*line, "--scores", str(tmp_path / "scores.csv"), *GRID]) == 0
    printed = [one for one in capsys.readouterr().out.splitlines() if one.startswith(("ALARM", "OVER"))]
    result = inspect_traffic(
        windows, TrafficUpload(files / "live.xml", good=files / "good.xml"), UploadLimits(), ResultFolders(tmp_path)
    )
    assert [one.removesuffix("  000001.png") for one in result.lines] == printed and len(printed) == 2
    folder = result.diagrams[0].parent
    expected, found = pd.read_csv(tmp_path / "scores.csv"), pd.read_csv(folder / "scores.csv")
    pd.testing.assert_frame_equal(found, expected)
    ((_, start, end, low, high, *_),) = result.alarms
    assert start < 60 < 90 < end + 26 and low <= 300 <= high
    with open(folder / "alarms.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["start"]) == start
    assert [path.name for path in result.pictures] == ["000001.png"]
    assert "1 alarm(s)" in result.text and "extrapolated from 0.02 h of good traffic" in result.text
    assert {path.name for path in result.files} == {
        "time_space_1.png", "scores.png", "scores.csv", "alarms.csv", "alarms.json",
    }  # fmt: skip
    assert not (folder / "input").exists()


def test_without_good_traffic_it_is_drawn_alone(files, windows, tmp_path):
    result = inspect_traffic(windows, TrafficUpload(files / "live.xml"), UploadLimits(), ResultFolders(tmp_path))
    assert not result.lines and not result.alarms and result.text.startswith("Drawn.")
    (diagram,) = result.diagrams
    image = cv2.imread(str(diagram)).astype(int)
    # The standing vehicle is magenta, a line; its place in the diagram is at 60 to 90 s of 150.
    magenta = (image[..., 0] > 120) & (image[..., 1] < 60) & (image[..., 2] > 120)
    upper = magenta[: len(image) * 3 // 4]  # above the scale of colours
    assert upper.sum() > 50


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("net=/etc/passwd&route=a", "option net, route is not offered here"),
        ("axis=/etc/passwd", "option axis is not offered here"),
        ("edges", "expected NAME=VALUE"),
    ],
)
def test_options_that_name_files_are_refused(files, windows, tmp_path, options, words):
    with pytest.raises(ConfigError, match=words):
        inspect_traffic(
            windows, TrafficUpload(files / "live.xml", options=options), UploadLimits(), ResultFolders(tmp_path)
        )


def test_uploads_that_cannot_be_used(files, windows, tmp_path):
    folders = ResultFolders(tmp_path)

    def tried(max_bytes=10**7, **changes):
        upload = TrafficUpload(**{"trajectories": files / "live.xml", **changes})
        return inspect_traffic(windows, upload, UploadLimits(max_bytes), folders)

    broken = tmp_path / "broken.xml"
    broken.write_text("<fcd-export><timestep time='0'>")
    with pytest.raises(DataError):
        tried(trajectories=broken)
    broken.write_bytes(b"\x1f\x8b" + bytes(10))
    with pytest.raises(DataError, match=r"broken\.xml cannot be unpacked"):
        tried(trajectories=broken)
    with pytest.raises(DataError, match=r"live\.xml has .* MB, at most"):
        tried(max_bytes=100)
    with pytest.raises(ConfigError, match="reader 'ngsim' is not offered"):
        tried(reader="ngsim")
    with pytest.raises(ConfigError, match="give one"):
        tried(good=files / "good.xml", calibration=files / "good.xml")
    with pytest.raises(ConfigError, match="calibration"):
        tried(calibration=files / "good.xml")
