"""What logical forms mean: worked scenes, vague words, doubt, mirrors, and the toy generator's own labels."""

import numpy as np
import pytest

from mono3dvg.language import LabelledScene, build_labelled_scene, form_to_json, interpret, mirror_form, to_form
from mono3dvg.language.form_parts import PARTS, part_truths
from mono3dvg.language.form_sampler import FormSampler
from mono3dvg.language.kleene import MAYBE, NO, YES, conjunction, disjunction, negation
from mono3dvg.language.logical_forms import form_tags, head_classes
from mono3dvg.language.predicates import evaluate_predicate, evaluate_relation
from mono3dvg.schema import GroundingData
from tests.factories.grounding_files import TOY_CLASSES, toy_grounding_content

RED_CAR, BLUE_CAR, BUS, WALKER, FAR_CAR = range(5)


def _scene(**changes) -> LabelledScene:
    """Seen from above, x to the right, z away; u from a camera of 50 degrees.

    a red car at (-4, 15) heads away, a blue one at (4, 18) toward the camera, a white bus crosses at (0, 30) to the
    right, a pedestrian at (6, 20) beside the blue car goes left, a red car at (1, 60) heads away.
    """
    position = np.array([[-4.0, 15], [4, 18], [0, 30], [6, 20], [1, 60]])
    hwl = np.array([[1.5, 1.8, 4.4], [1.5, 1.8, 4.2], [3.1, 2.5, 11], [1.7, 0.5, 0.5], [1.5, 1.8, 4.5]])
    u = 0.5 + position[:, 0] / position[:, 1]
    half = np.array([1.8, 1.8, 5.5, 0.3, 1.8]) / 2 / position[:, 1]
    fields = {
        "ids": ("red", "blue", "bus", "walker", "far"),
        "kinds": ("car", "car", "bus", "pedestrian", "car"),
        "ignore": np.zeros(5, dtype=bool),
        "u": u,
        "u_left": u - half,
        "u_right": u + half,
        "position": position,
        "heading": np.array([[0.0, 1], [0, -1], [1, 0], [-1, 0], [0, 1]]),
        "hwl": hwl,
        "hidden": (0, 0, 1, None, 0),
        "colors": ("red", "blue", "white", "grey", "red"),
        "lanes": (1, -1, 0, 0, 2),
        "states": ("driving", "driving", "parked", "crossing", "driving"),
    }
    return LabelledScene(**{**fields, **changes})


CARS, CAR_RED = ("all", ("class", "car")), ("all", ("class", "car"), ("color", "red"))
THE_BUS, THE_BLUE = ("all", ("class", "bus")), ("all", ("class", "car"), ("color", "blue"))


@pytest.mark.parametrize(
    ("form", "targets"),
    [
        (CARS, [RED_CAR, BLUE_CAR, FAR_CAR]),
        (("all", ("class", "vehicle")), [RED_CAR, BLUE_CAR, BUS, FAR_CAR]),
        (("all", ("class", "road_user")), [0, 1, 2, 3, 4]),
        (CAR_RED, [RED_CAR, FAR_CAR]),
        (("all", ("class", "car"), ("not", ("color", "red"))), [BLUE_CAR]),
        (("all", ("class", "vehicle"), ("size", "large")), [BUS]),
        (("all", ("class", "car"), ("lane", 1)), [RED_CAR, BLUE_CAR]),
        (("all", ("class", "vehicle"), ("state", "parked")), [BUS]),
        (("all", ("class", "pedestrian"), ("state", "crossing")), [WALKER]),
        (("all", ("class", "car"), ("heading", "away")), [RED_CAR, FAR_CAR]),
        (("all", ("class", "road_user"), ("heading", "right")), [BUS]),
        (("all", ("class", "road_user"), ("heading", "left")), [WALKER]),
        (("all", ("class", "vehicle"), ("hidden", True)), [BUS]),
        (("all", ("class", "car"), ("place", "left")), [RED_CAR]),
        (("all", ("class", "vehicle"), ("place", "middle")), [BUS, FAR_CAR]),
        (("all", ("class", "car"), ("range", "far")), [FAR_CAR]),
        (("all", ("class", "road_user"), ("distance", "about", 30, "m")), [BUS]),
        (("all", ("class", "road_user"), ("distance", "over", 131, "ft")), [FAR_CAR]),
        (("all", ("class", "road_user"), ("distance", "under", 2500, "cm")), [RED_CAR, BLUE_CAR, WALKER]),
        (("all", ("class", "car"), ("left_of", THE_BUS)), [RED_CAR]),
        (("all", ("class", "pedestrian"), ("right_of", THE_BUS)), [WALKER]),
        (("all", ("class", "car"), ("behind", THE_BUS)), [FAR_CAR]),
        (("all", ("class", "bus"), ("in_front_of", ("rank", "far", 1, 1, CARS))), [BUS]),
        (("all", ("class", "road_user"), ("next_to", THE_BLUE)), [WALKER]),
        (("all", ("class", "car"), ("closer_than", THE_BUS)), [RED_CAR, BLUE_CAR]),
        (("all", ("class", "car"), ("farther_than", THE_BUS)), [FAR_CAR]),
        (("all", ("class", "bus"), ("between", ("rank", "left", 1, 1, CARS), ("rank", "far", 1, 1, CARS))), [BUS]),
        (("rank", "near", 1, 1, CARS), [RED_CAR]),
        (("rank", "left", 2, 2, CARS), [FAR_CAR]),
        (("rank", "right", 1, 2, ("all", ("class", "road_user"))), [BLUE_CAR, WALKER]),
        (("rank", "long", 1, 1, ("all", ("class", "vehicle"))), [BUS]),
        (("nearest", CARS, ("all", ("class", "pedestrian"))), [BLUE_CAR]),
        (("exactly", 2, CAR_RED), [RED_CAR, FAR_CAR]),
        (("union", THE_BUS, THE_BLUE), [BLUE_CAR, BUS]),
        # Nothing is meant:
        (("all", ("class", "truck")), []),
        (("rank", "near", 4, 4, CARS), []),
        (("exactly", 3, CAR_RED), []),
        (("all", ("class", "car"), ("left_of", ("all", ("class", "tram")))), []),
        (("nearest", CARS, ("all", ("class", "tram"))), []),
    ],
)
def test_worked_scene(form, targets):
    meaning = interpret(to_form(form_to_json(form)), _scene())
    assert meaning.certain and list(meaning.targets) == targets
    mirrored = interpret(mirror_form(form), _scene().mirrored())
    assert mirrored == meaning and mirror_form(mirror_form(form)) == form


@pytest.mark.parametrize(
    "form",
    [
        ("all", ("class", "pedestrian"), ("color", "silver")),  # grey or silver
        ("all", ("class", "pedestrian"), ("hidden", True)),  # between clear and hidden
        ("all", ("class", "bus"), ("distance", "about", 27, "m")),
        ("all", ("class", "bus"), ("distance", "under", 30, "m")),
        ("all", ("class", "car"), ("left_of", CAR_RED)),  # which of the two
        ("all", ("class", "car"), ("right_of", THE_BUS)),  # one is before the right part of the bus
        ("all", ("class", "car"), ("in_front_of", ("rank", "far", 1, 1, CARS))),  # one is 4 m beside the line of sight
        ("all", ("class", "pedestrian"), ("size", "large")),
        ("rank", "tall", 1, 1, CARS),  # all of a height
        ("rank", "near", 1, 1, ("all", ("class", "road_user"), ("not", ("color", "silver")))),
    ],
)
def test_doubt_is_not_certain(form):
    assert not interpret(form, _scene()).certain


def test_boundary_of_an_order():
    """0.5 m is too little to tell which of two is nearer, but no matter if both are meant."""
    position = _scene().position.copy()
    position[BLUE_CAR] = [4, np.sqrt(16.0**2 - 4**2)]  # 16.0 m away, the red one 15.5 m
    scene = _scene(position=position)
    assert not interpret(("rank", "near", 1, 1, CARS), scene).certain
    assert interpret(("rank", "near", 1, 2, CARS), scene).targets == (RED_CAR, BLUE_CAR)
    assert interpret(("rank", "near", 1, 2, CARS), scene).certain


def test_objects_to_be_ignored_raise_doubt_only_where_they_would_be_meant():
    scene = _scene(ignore=np.array([False, False, False, False, True]))
    assert not interpret(CARS, scene).certain
    assert interpret(THE_BLUE, scene) == interpret(THE_BLUE, _scene())
    assert not interpret(("exactly", 1, CAR_RED), scene).certain


def test_unknown_attributes_raise_doubt():
    scene = _scene(colors=(None,) * 5, lanes=(None,) * 5)
    assert (
        not interpret(CAR_RED, scene).certain and not interpret(("all", ("class", "car"), ("lane", 1)), scene).certain
    )
    assert interpret(CARS, scene).certain
    boxless = _scene(position=np.full((5, 2), np.nan), ignore=np.ones(5, dtype=bool))
    assert (evaluate_predicate(("range", "near"), boxless) == MAYBE).all()
    assert (evaluate_relation("behind", boxless, 0)[1:] == MAYBE).all()


def test_three_valued_logic():
    values = np.array([NO, MAYBE, YES])
    a, b = np.meshgrid(values, values)
    # Kleene's strong tables, rows a, columns b in the order no, maybe, yes.
    np.testing.assert_array_equal(conjunction(a, b), [[NO, NO, NO], [NO, MAYBE, MAYBE], [NO, MAYBE, YES]])
    np.testing.assert_array_equal(disjunction(a, b), [[NO, MAYBE, YES], [MAYBE, MAYBE, YES], [YES, YES, YES]])
    np.testing.assert_array_equal(negation(values), [YES, MAYBE, NO])


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("car", "'car' is no logical form"),
        (["all"], "is no phrase"),
        (["all", ["color", "pink"]], r"form\[1\]: color is 'pink', expected one of white"),
        (["all", ["class", "car"], ["left_of", ["color", "red"]]], r"form\[2\]\[1\]: .* is no phrase"),
        (["rank", "near", 2, 1, ["all", ["class", "car"]]], "one place or the first few"),
        (["rank", "near", 2, 3, ["all", ["class", "car"]]], "one place or the first few"),
        (["rank", "old", 1, 1, ["all", ["class", "car"]]], "expected one of near, far"),
        (["all", ["distance", "about", -3, "m"]], "a number above 0"),
        (["all", ["lane", 0]], "is no predicate"),
    ],
)
def test_wrong_forms_say_where(form, message):
    with pytest.raises(ValueError, match=message):
        to_form(form)


def test_tags_and_classes_of_forms():
    form = ("rank", "left", 2, 2, ("all", ("class", "car"), ("not", ("color", "red")), ("behind", THE_BUS)))
    assert form_tags(form) == ["behind", "class", "color", "negation", "ordinal", "relation"]
    assert head_classes(form) == ("car",) and head_classes(("union", THE_BUS, CARS)) == ("bus", "car")


def test_headings_are_those_of_the_toy_generator():
    """It works in world coordinates, from the poses that it draws the objects with."""
    raw, described = toy_grounding_content(12)
    data, compared = GroundingData(raw), 0
    for image_id, entries in enumerate(described):
        scene = build_labelled_scene(data, image_id)
        for way in ("away", "toward", "left", "right"):
            truth = evaluate_predicate(("heading", way), scene)
            for value, entry in zip(truth, entries):
                compared += value != MAYBE
                assert value == MAYBE or (value == YES) == (entry["direction"] == way)
        ranges = [entry["range_m"] for entry in entries]  # over x and z of the camera, not over the ground
        assert np.abs(scene.distance - ranges).max(initial=0) < 3.5
    assert compared > 200


def test_mirrored_sentences_mean_the_same_objects():
    raw, _ = toy_grounding_content(8, seed=5)
    data, forms = GroundingData(raw), 0
    for image_id in data.images:
        scene = build_labelled_scene(data, image_id)
        sampler = FormSampler(scene, np.random.default_rng(image_id), TOY_CLASSES)
        for _ in range(40):
            form = sampler.propose()
            if form is not None:
                forms += mirror_form(form) != form
                assert interpret(mirror_form(form), scene.mirrored()) == interpret(form, scene)
    assert forms > 20


def test_flipped_data_gives_the_mirrored_scene():
    """Boxes and camera flipped as `d2road` flips them lead to the scene in the mirror."""
    from d2road.structures import Boxes3D

    raw, _ = toy_grounding_content(1, seed=3)
    data = GroundingData(raw)
    image, frame = data.images[0], data.frame_of(0)
    flipped = image.camera.flipped(960)
    rows = Boxes3D.from_kitti(np.array([o.row for o in data.objects_of[0]]), frame).flipped()
    rows = rows.to_kitti(flipped.ground_rotation()).tolist()
    for entry, row in zip(raw["annotations"], rows):
        x1, y1, x2, y2 = entry["bbox"]
        entry.update(bbox=[960 - x2, y1, 960 - x1, y2], location=row[:3], rotation_y=row[6])
    raw["images"][0].update(P=flipped.P.tolist(), ground_plane=flipped.ground.tolist())
    found, expected = build_labelled_scene(GroundingData(raw), 0), build_labelled_scene(data, 0).mirrored()
    for name in ("u", "u_left", "u_right", "position", "heading"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-6, err_msg=name)


def _parts(form: tuple, scene: LabelledScene) -> dict[str, list[int]]:
    """Objects of which each part is true; parts that are in doubt for all are left out."""
    truths = dict(zip(PARTS, part_truths(form, scene)))
    return {name: np.flatnonzero(t == YES).tolist() for name, t in truths.items() if (t != MAYBE).any()}


def test_parts_of_a_sentence():
    """The second car from the left that is not blue and nearer than the bus."""
    inner = ("all", ("class", "car"), ("not", ("color", "blue")), ("closer_than", THE_BUS))
    assert _parts(("rank", "left", 2, 2, inner), _scene()) == {
        "class": [RED_CAR, BLUE_CAR, FAR_CAR],
        "color": [RED_CAR, BUS, WALKER, FAR_CAR],
        "attributes": [RED_CAR, FAR_CAR],
        "anchor": [BUS],
        "closer_than": [RED_CAR, BLUE_CAR, WALKER],
        "selection": [],  # there is no second
        "description": [RED_CAR],
        "target": [],
    }
    assert _parts(("union", THE_BUS, CAR_RED), _scene()) == {
        "attributes": [RED_CAR, BUS, FAR_CAR],
        "anchor": [],
        "description": [RED_CAR, BUS, FAR_CAR],
        "target": [RED_CAR, BUS, FAR_CAR],
    }
    assert _parts(("nearest", CARS, ("all", ("class", "pedestrian"))), _scene())["anchor"] == [WALKER]


def test_parts_lead_to_the_targets_and_are_those_of_the_mirror():
    """What is meant fits its description, in the toy scenes; left and right are one part."""
    raw, _ = toy_grounding_content(6, 2)
    data = GroundingData(raw)
    rng, forms = np.random.default_rng(0), 0
    for image_id in data.images:
        scene = build_labelled_scene(data, image_id)
        sampler = FormSampler(scene, rng, TOY_CLASSES)
        for form in filter(None, (sampler.propose() for _ in range(40))):
            meaning = interpret(form, scene)
            if not meaning.certain:
                continue
            forms += 1
            truths = dict(zip(PARTS, part_truths(form, scene)))
            assert (truths["description"][list(meaning.targets)] == YES).all()
            assert (truths["attributes"][truths["description"] == YES] == YES).all()
            assert np.flatnonzero(truths["target"] == YES).tolist() == list(meaning.targets)
            if (truths["selection"] != MAYBE).any():
                np.testing.assert_array_equal(conjunction(truths["description"], truths["selection"]), truths["target"])
            np.testing.assert_array_equal(part_truths(mirror_form(form), scene.mirrored()), part_truths(form, scene))
            if form[0] == "all":
                assert np.flatnonzero(truths["description"] == YES).tolist() == list(meaning.targets)
    assert forms > 60
