"""Files that a stream goes on with: states, calibrations and scores in any valid form are used or refused by name."""

import copy
import json
import math

import pandas as pd
import pytest

from d2road.traffic.events import stream_session
from d2road.traffic.events.stream_options import StreamOptions
from d2road.traffic.events.stream_session import StreamModel, StreamSession
from d2road.utils.errors import ConfigError, D2RoadError, DataError
from tests.factories.stream_fcd import GRID, magenta, write_fcd
from tests.factories.sumo_fcd import EDGES, split_at, sumo_fcd


def session(folder, **options) -> StreamSession:
    common = {"input": f"fcd:{folder / 'a.xml'}", "threshold": 50.0}
    return StreamSession(StreamOptions(**{**common, **options}), lambda: StreamModel(GRID, magenta))


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """A folder with a run that was interrupted in the middle of an alarm, and what its state holds."""
    folder = tmp_path_factory.mktemp("stream")
    text = write_fcd(folder / "a.xml")
    (folder / "a.xml").write_text(text[: int(0.6 * len(text))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream_session, "alarm_threshold", lambda windows, hours, rate: (1.0, 0))
        session(folder, state=folder / "state.json", scores=folder / "scores.csv").run()
        session(folder, state=folder / "good.json", threshold=None, calibrate=folder / "t.json").run()
    state = json.loads((folder / "state.json").read_text())
    # A run that ends with its file has no open alarm: put one there as a run that is interrupted leaves it.
    state["scorer"]["open"] = [{"alarm": alarm_like(), "parts": [alarm_like()]}]
    state["good"] = json.loads((folder / "good.json").read_text())["good"][:2]
    return folder, state


def alarm_like():
    numbers = dict.fromkeys(("start", "end", "s_low", "s_high", "raised", "peak", "peak_t0", "peak_s0"), 1.0)
    return {"recording": "a", "windows": 1, "direction": 1, **numbers}


def places(value, path=()):
    """Each place in a JSON value."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def test_a_state_goes_on_whatever_its_valid_form(left):
    folder, state = left
    path = folder / "other.json"
    for content in (
        json.dumps(state).encode(), b"\xef\xbb\xbf" + json.dumps(state, indent=4).encode(),
        json.dumps(state).encode("utf-16"), json.dumps(dict(reversed(state.items()))).encode(),
    ):  # fmt: skip
        path.write_bytes(content)
        assert session(folder, state=path).scorer.windows == state["scorer"]["windows"]


def test_a_state_with_any_value_of_another_kind_is_refused_by_name(left):
    folder, state = left
    path = folder / "damaged.json"
    count = 0
    for place in places(state):
        if place[0] == "about":
            continue
        for wrong in (None, "text", [], {}, True, -(10**30), [[1]]):
            damaged = copy.deepcopy(state)
            inner = damaged
            for key in place[:-1]:
                inner = inner[key]
            if inner[place[-1]] == wrong or type(wrong) is type(inner[place[-1]]) is list:
                continue
            inner[place[-1]] = wrong
            path.write_text(json.dumps(damaged))
            try:
                read_only(folder, path)
            except D2RoadError as error:
                assert "damaged.json" in str(error) or "a.xml" in str(error), place
                count += 1
    assert count > 300


def read_only(folder, path):
    from d2road.traffic.events.stream_state import read_state

    read_state(StreamOptions(f"fcd:{folder / 'a.xml'}", threshold=50.0, state=path))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "3", '"x"', "{}", '{"about": []}', '{"about": {}}', "NaN", "[" * 2000 + "]" * 2000, "\xff"],
)
def test_what_is_no_state_is_refused_with_file_and_cure(left, text):
    folder, _ = left
    path = folder / "none.json"
    path.write_bytes(text.encode("latin1"))
    with pytest.raises(ConfigError, match=r"none\.json.*") as error:
        session(folder, state=path)
    assert "delete it to begin anew" in str(error.value)


@pytest.mark.parametrize("name", ["offset", "next_t0", "began", "seen", "scorer", "good", "number", "behind", "over_s"])
def test_a_state_without_a_value_or_with_nan_is_refused(left, name):
    folder, state = left
    path = folder / "less.json"
    for text in (
        json.dumps({key: value for key, value in state.items() if key != name}), json.dumps({**state, name: math.nan}),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"less\.json"):
            session(folder, state=path)


def test_a_state_of_an_earlier_version_goes_on(left):
    folder, state = left
    path = folder / "old.json"
    old = {name: state[name] for name in ("about", "offset", "next_t0", "began", "seen", "scorer", "good")}
    path.write_text(json.dumps(old))
    assert session(folder, state=path).next_t0 == state["next_t0"]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "[1]", "null", "1.5", "{}", '{"threshold": null}', '{"threshold": NaN}', '{"threshold": "0.5"}',
     '{"threshold": [1]}', '{"threshold": true}', '{"threshold": 1e999}', '{"threshold": 1%s}' % ("0" * 400),
     '{"threshold": {"a": 1}}', "threshold\n0.5\n", "\xff\xfe{"],
)  # fmt: skip
def test_what_is_no_calibration_is_refused_with_file_and_cure(left, text):
    folder, _ = left
    path = folder / "c.json"
    path.write_bytes(text.encode("latin1"))
    with pytest.raises(ConfigError, match=r"c\.json") as error:
        session(folder, threshold=None, calibration=path)
    assert "Write it with --calibrate" in str(error.value)


def test_a_calibration_in_any_encoding_of_text_is_read(left):
    folder, _ = left
    for content in ('{"threshold": 3}'.encode("utf-16"), b'\xef\xbb\xbf{"x": null, "threshold": 3.0}'):
        (folder / "c.json").write_bytes(content)
        assert session(folder, threshold=None, calibration=folder / "c.json").scorer.threshold == 3


HEADER = "recording,t0,t1,s0,s1,score,direction\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [("", "begins with nothing"), ("{}\n", "begins with '{}'"), ("recording,t0\na,1\n", "begins with"),
     (HEADER + HEADER, "line 2: t0 is 't0'"), (HEADER + "a,0,1\n", "line 2 has 3 values"),
     (HEADER + "a,x,1,0,1,2,1\n", "line 2: t0 is 'x'"), (HEADER + "a,0,1,0,1,nan,1\n", "line 2: score is 'nan'"),
     (HEADER + "a,0,1,0,1,,1\n", "line 2: score is ''"), (HEADER + "a,0,1,0,1,2,0\n", "line 2: direction is '0'"),
     (HEADER.replace(",", ";") + "a;0;1;0;1;2;1\n", "begins with"), ("\xff\xfe", "begins with nothing"),
     ("\xe9", "no UTF-8 text"), (HEADER + "\n", "line 2 has 0 values"),
     (HEADER + '"a,0,1,0,1,2,1\n', "line 2")],
)  # fmt: skip
def test_what_is_no_scores_file_is_refused_and_stays(left, text, found):
    folder, _ = left
    path = folder / "wrong.csv"
    path.write_bytes(text.encode("latin1"))
    with pytest.raises(DataError, match=r"wrong\.csv") as error:
        session(folder, state=folder / "state.json", scores=path)
    assert found in str(error.value)
    assert path.read_bytes() == text.encode("latin1")


def test_a_scores_file_whose_last_line_was_cut_off_goes_on(left):
    folder, state = left
    whole = (folder / "scores.csv").read_text()
    path = folder / "cut.csv"
    path.write_text(whole + "a,999.")
    session(folder, state=folder / "state.json", scores=path)
    lines = whole.splitlines()
    assert path.read_text().splitlines() == [
        x for x in lines if x[0] == "r" or float(x.split(",")[1]) < state["next_t0"]
    ]


def test_a_stream_that_saw_no_row_yet_leaves_a_state_that_goes_on(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_bytes(b"")
    options = {"input": f"fcd:{path}?edges={EDGES}", "state": tmp_path / "s.json", "follow": True}
    run = session(tmp_path, **options)
    monkeypatch.setattr("d2road.traffic.readers.growing_file.time.sleep", lambda _s: setattr(run.stop, "number", 15))
    assert run.run() == 143
    path.write_bytes(sumo_fcd(seconds=60))
    assert session(tmp_path, **{**options, "follow": False}).run() == 0
    assert json.loads((tmp_path / "s.json").read_text())["scorer"]["windows"] > 0


def stopping(run, monkeypatch, acts):
    """Run it; each time it waits the next act is done, then it is asked to stop."""
    acts = iter(acts)

    def act(_seconds):
        next(acts, lambda: setattr(run.stop, "number", 2))()

    monkeypatch.setattr("d2road.traffic.readers.growing_file.time.sleep", act)
    assert run.run() == 130


@pytest.mark.parametrize("how", ["rotated", "clock"])
def test_a_run_that_goes_on_in_a_later_recording_equals_one_run(tmp_path, monkeypatch, how):
    first, second = sumo_fcd(seconds=65), sumo_fcd(seconds=70, seed=2)
    early, late = split_at(second, 45)
    path = tmp_path / "a.csv"

    def replace(content):
        (tmp_path / "new").write_bytes(content)
        (tmp_path / "new").rename(path)

    def append(content):
        with open(path, "ab") as file:
            file.write(content)

    def begin(content):
        return replace(content) if how == "rotated" else append(split_at(content, 0)[1])

    options = {"input": f"fcd:{path}?edges={EDGES}", "follow": True}
    path.write_bytes(first)
    stopping(session(tmp_path, scores=tmp_path / "whole.csv", **options), monkeypatch,
             [lambda: begin(early), lambda: append(late)])  # fmt: skip
    whole = pd.read_csv(tmp_path / "whole.csv")
    assert whole.groupby("recording").size().to_dict() == {"a": 4, "a.2": 3}

    path.write_bytes(first)
    options |= {"scores": tmp_path / "parts.csv", "state": tmp_path / "state.json"}
    stopping(session(tmp_path, **options), monkeypatch, [lambda: begin(early)])
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["number"] == 2 and state["recording"] == "a.2"
    append(late)
    stopping(session(tmp_path, **options), monkeypatch, [])
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "parts.csv"), whole)


def test_a_state_of_an_input_that_was_replaced_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    options = {"input": f"fcd:{path}?edges={EDGES}", "state": tmp_path / "s.json", "scores": tmp_path / "scores.csv"}
    path.write_bytes(sumo_fcd(seconds=60))
    session(tmp_path, **options).run()
    scores = (tmp_path / "scores.csv").read_bytes()
    for content in (sumo_fcd(seconds=120, seed=2), sumo_fcd(seconds=20)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"Begin anew|begin anew"):
            session(tmp_path, **options)
    assert (tmp_path / "scores.csv").read_bytes() == scores
    path.write_bytes(sumo_fcd(seconds=120))  # the same run of SUMO, further
    session(tmp_path, **options).run()
    assert len(pd.read_csv(tmp_path / "scores.csv")) == 8


def test_a_gap_of_hours_is_no_traffic(tmp_path, caplog, monkeypatch):
    first, rest = split_at(sumo_fcd(seconds=120), 60)
    ahead = b"".join(
        b"%.2f;" % (float(line.split(b";")[0]) + 1e6) + line.split(b";", 1)[1] for line in rest.splitlines(True)
    )
    path = tmp_path / "a.csv"
    path.write_bytes(first + ahead)
    grid = GRID.__class__(GRID.renderer, s_range=(0, 512), keep_empty=True)
    options = StreamOptions(f"fcd:{path}?edges={EDGES}", threshold=50.0, scores=tmp_path / "s.csv")
    run = StreamSession(options, lambda: StreamModel(grid, magenta))
    assert run.run() == 0
    times = pd.read_csv(tmp_path / "s.csv")["t0"]
    assert len(times) < 20 and times.max() > 1e6
    assert run._hours() * 3600 == pytest.approx(120, abs=1)
    assert "no row for 1000000 s after t = 59.9 s: no hours of traffic, no windows" in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [{"threshold": math.nan}, {"threshold": math.inf}, {"batch": 0}, {"batch": -1}, {"rate": math.nan}, {"rate": 0.0}],
)
def test_numbers_of_a_run_are_finite_and_in_range(wrong):
    with pytest.raises(ConfigError, match="--"):
        StreamOptions("fcd:a.xml", **wrong)


def test_outputs_are_files_of_their_own_that_can_be_written(left, tmp_path):
    folder, _ = left
    for options, text in (
        ({"state": tmp_path / "x", "scores": tmp_path / "x"}, "--scores and --state name one file"),
        ({"scores": folder / "a.xml"}, "--scores and --input name one file"),
        ({"scores": tmp_path}, "it is a folder"),
        ({"state": folder / "a.xml" / "s.json"}, "a file is in the way"),
        ({"pictures": folder / "a.xml"}, "a file is in the way"),
    ):
        with pytest.raises(D2RoadError, match=text):
            session(folder, **options)
    (tmp_path / "real").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / "real" / "s.csv")
    session(folder, scores=tmp_path / "link.csv").run()
    assert (tmp_path / "link.csv").is_symlink() and len(pd.read_csv(tmp_path / "real" / "s.csv")) > 3
    (tmp_path / "real" / "s.csv").chmod(0o444)
    with pytest.raises(D2RoadError, match="write-protected"):
        session(folder, scores=tmp_path / "link.csv")
