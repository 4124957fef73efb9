"""Search sentences: what they ask for, in several wordings; what is not understood is said."""

import json
from pathlib import Path

import pytest

from d2road.traffic.search.query import Condition
from d2road.traffic.search.sentence_parser import parse_sentence
from d2road.utils.errors import ConfigError

ROOT = Path(__file__).resolve().parents[4]
WORDINGS = json.loads((ROOT / "benchmarks" / "traffic" / "search_wordings.json").read_text())
MEANING = {
    "large": "size=large", "small": "size=small", "lane_right": "lane=right", "lane_middle": "lane=middle",
    "lane_left": "lane=left", "lane_2_from_middle": "lane=2 from middle", "standing": "motion=standing",
    "moving": "motion=moving", "slow": "pace=slow", "fast": "pace=fast", "braking": "trend=braking",
    "accelerating": "trend=accelerating", "speed_over": "speed>50 km/h", "speed_under": "speed<50 km/h",
    "lasting_over": "duration>20 s", "lasting_under": "duration<20 s", "toward": "heading=toward",
    "away": "heading=away", "change_left": "change=left", "change_right": "change=right", "change": "change=any",
    "overtaking": "overtaking=another vehicle", "image_left": "place=left", "image_right": "place=right",
    "image_middle": "place=middle", "near": "range=near", "far": "range=far", "distance_under": "distance<30 m",
    "distance_over": "distance>30 m", "behind": "relation=behind bus", "in_front_of": "relation=in front of bus",
    "next_to": "relation=next to bus", "after": "time>10 s", "before": "time<10 s",
}  # fmt: skip


def understood(sentence, **options):
    return str(parse_sentence(sentence, **options))


def test_the_sentence_of_the_manual():
    query = parse_sentence("a truck standing in the right lane for more than 20 seconds")
    assert str(query) == "class=truck, motion=standing, lane=right, duration>20 s"
    assert query.conditions == (
        Condition("class", ("truck",)), Condition("motion", "standing"), Condition("lane", ("right", 0)),
    )  # fmt: skip
    assert query.lasting_s == (20.0, float("inf")) and not query.phrase and query.class_phrase == "all trucks"


@pytest.mark.parametrize("test", ["seen", "held_out", "later"])  # all of them were opened
def test_every_wording_of_the_benchmark_means_what_it_shall(test):
    assert set(MEANING) == set(WORDINGS["conditions"])
    for kind, wordings in WORDINGS["conditions"].items():
        for wording in wordings[test]:
            said = wording.removeprefix("*").format(adj="", v=50, n=20, d=30, t=10, a="bus")
            before = wording.startswith("{adj}")
            sentence = f"find a {said} truck" if before else f"is there a truck {said}?"
            assert understood(sentence).partition(" (")[0] == f"class=truck, {MEANING[kind]}", sentence
    for name, nouns in WORDINGS["nouns"].items():
        for noun in nouns[test]:
            assert understood(f"a {noun} standing") == f"class={name}, motion=standing"


@pytest.mark.parametrize(
    "sentence, expected",
    [
        ("a lorry parked for half a minute", "class=truck, motion=standing, duration>30 s"),
        ("a car that isn't moving", "class=car, motion=standing"),
        ("a car not in the left lane", "class=car, lane!=left"),
        ("a bus faster than twenty-five mph", "class=bus, speed>40.23 km/h"),
        ("a van between 10 and 20 seconds", "class=van, time>10 s, time<20 s"),
        ("a van standing for between 3 and 5 s", "class=van, motion=standing, duration>3 s, duration<5 s"),
        ("a car moving from the right lane to the middle lane", "class=car, change=right to middle"),
        ("a car in the right lane changing to the left lane", "class=car, change=left, change=right to any"),
        ("what is standing?", "motion=standing"),
        ("a vehicle not for more than 5 seconds", "class=vehicle, duration<5 s"),
        ("a car not moving for at least ten seconds", "class=car, motion=standing, duration>10 s"),
        ("vans past the fifty-second mark", "class=van, time>50 s"),
        ("bus, middle lane, first quarter of a minute", "class=bus, lane=middle, time<15 s"),
        ("a truck seen for under four seconds", "class=truck, duration<4 s"),
        ("lorry in lane two, counting from the road's centre line", "class=truck, lane=2 from middle"),
        ("HGVs in the lane nearest the kerb", "class=truck, lane=right"),
        ("a lane change to the right by 0:40", "change=right, time<40 s"),
        ("who swerves left?", "change=left"),
        ("a bus gone past another vehicle it had caught up with", "class=bus, overtaking=another vehicle"),
        ("a van with a bus behind it", "class=van, relation=in front of bus"),
        ("a car with a bus between it and the camera", "class=car, relation=behind bus"),
        ("a vehicle slower than the rest of the traffic", "class=vehicle, pace=slow"),
    ],
)
def test_numbers_units_negations_and_changes(sentence, expected):
    assert understood(sentence) == expected


@pytest.mark.parametrize(
    "sentence, expected",
    [
        ("a van in the slow lane", "class=van, lane=right ('slow lane' taken as the right one of its direction)"),
        ("a van in the outer lane", "class=van, lane=left ('outer lane' taken as the left one of its direction)"),
        ("a car doing over 70", "class=car, speed>70 km/h (70 taken as 70 km/h)"),
    ],
)
def test_words_of_more_than_one_sense_are_told_as_they_are_taken(sentence, expected):
    assert understood(sentence) == expected


@pytest.mark.parametrize(
    "sentence",
    [
        "a car with a trailer",
        "someone tailgating a van",
        "a van that stops then accelerates",
        "no bus in the left lane",
    ],
)
def test_what_says_more_than_is_known_is_refused(sentence):
    with pytest.raises(ConfigError):
        parse_sentence(sentence)


def test_what_no_track_knows_goes_to_the_image():
    query = parse_sentence("a large grey van behind a red bus that is partly hidden")
    assert query.phrase == "all grey vehicles that are partly hidden"
    assert query.conditions[-1].other == ("all buses", "all red vehicles")
    assert "relation=behind bus (all red vehicles)" in str(query)
    assert query.class_phrase == "all vans" and query.image_words[0] == "grey"
    assert [one.kind for one in query.conditions] == ["class", "size", "relation"]
    assert parse_sentence("a car that is not white").phrase == "all vehicles that are not white"


def test_words_that_are_not_understood_are_said_or_left_to_the_image():
    with pytest.raises(ConfigError, match=r"'rusty', 'ladder'.*class=van.*motion=standing"):
        parse_sentence("a rusty van standing ladder")
    assert parse_sentence("a rusty van", leaves_words=True).phrase == "all vehicles rusty"
    with pytest.raises(ConfigError, match="'or'"):
        parse_sentence("a car or standing")
    with pytest.raises(ConfigError, match="'not'"):
        parse_sentence("a car that is not")


def test_ways_of_asking_are_told_and_words_about_the_vehicle_never_left_out():
    asked = "would you kindly point at a truck that has come to rest in the lane furthest to the right?"
    query = parse_sentence(asked)
    assert query.left_out == ("would", "kindly", "point", "at")
    assert str(query) == "class=truck, motion=standing, lane=right (left out: 'would kindly point at')"
    for sentence in ("a rusty truck", "rusty truck", "mark rusty trucks", "a truck that rusts in the right lane"):
        with pytest.raises(ConfigError, match="rust"):
            parse_sentence(sentence)


def test_a_sentence_that_cannot_be_searched_for_is_refused():
    with pytest.raises(ConfigError, match="empty"):
        parse_sentence(" ")
    with pytest.raises(ConfigError, match="nothing that a vehicle"):
        parse_sentence("is there the")
    with pytest.raises(ConfigError, match="one kind of vehicle"):
        parse_sentence("a car and a truck")


def test_classes_of_the_tracks_are_nouns_too():
    assert understood("a tractor standing", classes=["Tractor"]) == "class=Tractor, motion=standing"
    with pytest.raises(ConfigError, match="'tractor'"):
        parse_sentence("a tractor standing")
