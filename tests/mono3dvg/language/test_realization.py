"""Sentences: grammar of both languages, held-out paraphrases, realizing again, flips; and whole generated data sets."""

import copy
import itertools
import re
from collections import Counter

import numpy as np
import pytest

from mono3dvg.language import (
    Recipe,
    build_labelled_scene,
    chinese,
    english,
    generate_sentences,
    interpret,
    realize,
    realize_from,
    realize_mirrored,
    to_form,
    with_unknown_words,
)
from mono3dvg.language.logical_forms import RANK_KEYS, RELATIONS, VALUES
from mono3dvg.language.paraphrases import ParaphraseChooser
from mono3dvg.language.predicates import GROUPS
from mono3dvg.language.sentence_generator import MIX
from mono3dvg.schema import GroundingData
from mono3dvg.schema_checks import schema_problems
from tests.factories.grounding_files import TOY_CLASSES, toy_grounding_content

BUS = ("all", ("class", "bus"))


class First(ParaphraseChooser):
    """Always the first paraphrase."""

    def _draw(self, paraphrases):
        return 0


def _first(form: tuple, language: str = "en", many: int = 0) -> str:
    grammar = {"en": english.English, "zh": chinese.Chinese}[language]
    return grammar(First(None)).sentence(form, many)


@pytest.mark.parametrize(
    ("form", "many", "en", "zh"),
    [
        (("all", ("class", "car"), ("color", "red")), 0, "the red car", "红色轿车"),
        (("all", ("class", "bus"), ("size", "large")), 1, "the large buses", "大型公交车"),
        (("all", ("class", "car"), ("not", ("color", "red"))), 1, "the cars that are not red", "不是红色的轿车"),
        (
            ("all", ("class", "car"), ("heading", "left"), ("left_of", ("all", ("class", "bus"), ("range", "far")))),
            0,
            "the car heading left, left of the bus that is far away",
            "离相机很远的公交车左边的朝左行驶的轿车",
        ),
        (
            ("rank", "left", 2, 2, ("all", ("class", "car"), ("color", "white"))),
            0,
            "the second white car from the left",
            "从左数第二辆白色轿车",
        ),
        (
            ("rank", "near", 1, 3, ("all", ("class", "cyclist"), ("lane", 1))),
            0,
            "the three nearest ones among the cyclists in the first lane from the middle of the road",
            "在从道路中间数第一条车道上的骑车人当中离相机最近的三名骑车人",
        ),
        (
            ("nearest", ("all", ("class", "pedestrian")), BUS),
            0,
            "the pedestrian nearest to the bus",
            "离公交车最近的行人",
        ),
        (("exactly", 2, ("all", ("class", "van"))), 0, "the two vans, if there are exactly two", "恰好两辆面包车"),
        (("union", ("all", ("class", "van")), BUS), 2, "the van and the buses", "面包车和公交车"),
        (
            ("all", ("class", "car"), ("distance", "about", 35, "m"), ("between", BUS, ("all", ("class", "tram")))),
            0,
            "the car about 35 m away, between the bus and the tram",
            "公交车和有轨电车之间的距离约35米的轿车",
        ),
    ],
)
def test_grammar(form, many, en, zh):
    assert _first(to_form(form), "en", many) == en
    assert _first(to_form(form), "zh", many) == zh


def _every_form():
    """Each operator with each of its values, in a phrase."""
    for op, values in VALUES.items():
        for value in values:
            yield ("all", ("class", "car"), (op, value))
    for kind, unit in itertools.product(("about", "under", "over"), ("m", "cm", "ft")):
        yield ("all", ("class", "car"), ("distance", kind, 30, unit))
    for op in RELATIONS:
        yield ("all", ("class", "pedestrian"), ("lane", 3), (op, BUS))
    for key, (first, last) in itertools.product(RANK_KEYS, ((1, 1), (3, 3), (1, 2))):
        for inner in (BUS, ("all", ("class", "bus"), ("place", "left"))):
            yield ("rank", key, first, last, inner)
    for name in (*GROUPS["road_user"], *GROUPS):
        yield ("all", ("class", name))
    yield ("all", ("class", "car"), ("between", BUS, ("all", ("class", "van"))))
    yield from (("nearest", BUS, BUS), ("exactly", 3, BUS), ("union", BUS, BUS))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_everything_can_be_realized_and_realized_again(language):
    rng = np.random.default_rng(0)
    seen, held_out = set(), set()
    for form, many in itertools.product(_every_form(), (0, 1)):
        for _ in range(6):
            sentence = realize(to_form(form), language, many, rng)
            assert not sentence.held_out
            assert realize_from(form, language, sentence.choices) == sentence.text
            seen.add(sentence.text)
            other = realize(to_form(form), language, many, rng, "held_out")
            assert other.held_out and realize_from(form, language, other.choices) == other.text
            held_out.add(other.text)
            assert not re.search(r"[{}~]|  |None", sentence.text + other.text)
    assert not seen & held_out
    if language == "zh":
        assert not any(re.search("[A-Za-z]", text) for text in seen | held_out)


class Recorder(ParaphraseChooser):
    """Keeps the paraphrases it was offered and took."""

    def pick(self, paraphrases):
        text = super().pick(paraphrases)
        taken.append((list(paraphrases), paraphrases[self.choices[-1]]))
        return text


taken: list[tuple[list[str], str]] = []


@pytest.mark.parametrize("grammar", [english.English, chinese.Chinese])
def test_held_out_wordings_are_kept_for_the_test(grammar):
    rng = np.random.default_rng(1)
    for mode in ("seen", "held_out"):
        taken.clear()
        for form, many in itertools.product(_every_form(), (0, 1)):
            grammar(Recorder(rng, mode)).sentence(to_form(form), many)
        places_with_some = 0
        for offered, text in taken:
            some = any(paraphrase.startswith("~") for paraphrase in offered)
            places_with_some += some
            assert text.startswith("~") == (some and mode == "held_out")
            assert len({paraphrase.lstrip("~+") for paraphrase in offered}) == len(offered)
            assert not text.startswith("+")
            assert not all(paraphrase.startswith("~") for paraphrase in offered)
        assert places_with_some > 100


def _words(paraphrase: str) -> list[str]:
    return paraphrase.lstrip("~+").lower().removeprefix("that {be} ").split()


def _within(words: list[str], others: list[str]) -> bool:
    return any(others[i : i + len(words)] == words for i in range(len(others) - len(words) + 1))


def test_wordings_for_training_alone_hold_none_that_is_held_out():
    """Of every list that is chosen from; what the seen ones hold ("on the left" side of the image), more may hold."""
    rng = np.random.default_rng(2)
    taken.clear()
    texts = set()
    for form, many in itertools.product(_every_form(), (0, 1)):
        for _ in range(12):
            chooser = Recorder(rng, "varied")
            texts.add(english.English(chooser).sentence(to_form(form), many))
            assert realize_from(form, "en", (many, *chooser.choices)) in texts
    assert not any(re.search(r"[{}~+]|  |that (is|are) not that", text) for text in texts)
    shares = Counter(text[:1] if text[:1] in "~+" else "" for _, text in taken)
    assert shares["~"] == 0 and shares["+"] > shares[""]
    for offered in {tuple(offered) for offered, _ in taken}:
        held_out, more = ([_words(p) for p in offered if p.startswith(mark)] for mark in "~+")
        seen = [_words(p) for p in offered if p[0] not in "~+"]
        for phrase in held_out:
            if not any(_within(phrase, words) for words in seen):
                assert not any(_within(phrase, words) for words in more), (phrase, more)
            assert phrase not in more


@pytest.mark.parametrize(
    "form, many, bare",
    [
        (("all", ("color", "red"), ("class", "car")), 0, r"red {car}\??"),
        (("all", ("color", "red"), ("class", "car")), 1, r"(find |any |are there )?red {car}s\??"),
        (("rank", "left", 1, 2, ("all", ("class", "car"))), 0, r"two leftmost {car}s"),
        (("union", ("all", ("color", "red"), ("class", "car")), BUS), 0, r"red {car} and the .*"),
    ],
)
def test_training_says_phrases_without_their_article_too(form, many, bare):
    """As RefCOCO's are; no sentence of a data set has one."""
    pattern = bare.replace("{car}", "(car|automobile|motor car|passenger car|auto|motorcar)")
    texts = {
        mode: [realize(to_form(form), "en", many, np.random.default_rng(seed), mode).text for seed in range(200)]
        for mode in ("seen", "varied")
    }
    found = {
        mode: sum(bool(re.fullmatch(pattern, t, re.IGNORECASE)) for t in of_mode) for mode, of_mode in texts.items()
    }
    assert found["varied"] > 0 and found["seen"] == 0


def test_a_flip_keeps_the_wording_of_training_alone():
    form = ("rank", "left", 2, 2, ("all", ("class", "car"), ("place", "right"), ("heading", "left")))
    rng = np.random.default_rng(5)
    swapped = {"left": "right", "right": "left"}
    for _ in range(60):
        sentence = realize(to_form(form), "en", 0, rng, "varied")
        expected = re.sub("left|right", lambda m: swapped[m.group()], sentence.text)
        assert realize_mirrored(form, "en", sentence.choices) == expected != sentence.text


def test_flips_swap_left_and_right_alone():
    form = ("all", ("class", "car"), ("heading", "left"), ("right_of", BUS))
    rng = np.random.default_rng(4)
    swapped = {"left": "right", "right": "left"}
    for _ in range(30):
        sentence = realize(to_form(form), "en", 0, rng)
        expected = re.sub("left|right", lambda m: swapped[m.group()], sentence.text)
        assert realize_mirrored(form, "en", sentence.choices) == expected != sentence.text
        chinese_text = realize(to_form(form), "zh", 0, rng)
        expected = re.sub("[左右]", lambda m: {"左": "右", "右": "左"}[m.group()], chinese_text.text)
        assert realize_mirrored(form, "zh", chinese_text.choices) == expected
    plain = realize(to_form(("all", ("class", "car"))), "en", 0, rng)
    assert realize_mirrored(("all", ("class", "car")), "en", plain.choices) == plain.text


def test_wrong_choices_and_languages():
    with pytest.raises(ValueError, match="choices \\[0, 0\\] do not fit this sentence at place"):
        realize_from(("all", ("class", "car"), ("place", "left")), "en", [0, 0, 0])
    with pytest.raises(ValueError, match="choices are missing"):
        realize_from(BUS, "en", [])
    with pytest.raises(ValueError, match="choose one of en, zh"):
        realize(to_form(BUS), "fr", 0, np.random.default_rng(0))
    for wrong in ({"languages": ("fr",)}, {"held_out": 2}, {"per_image": 0}, {"mix": {"one": 1.0}}):
        with pytest.raises(ValueError):
            Recipe(**wrong)


@pytest.fixture(scope="module")
def made():
    raw, described = toy_grounding_content(24, seed=1)
    raw["expressions"], counts = generate_sentences(
        GroundingData(raw), Recipe(seed=3, languages=("en", "zh"), held_out=0.3)
    )
    return raw, described, counts


def test_generated_data_is_of_the_schema(made):
    raw, _, counts = made
    assert schema_problems(raw) == []
    assert len(raw["expressions"]) == sum(counts[group] for group in MIX) > 150


def test_targets_are_what_the_form_means(made):
    data = GroundingData(made[0])
    for e in data.expressions.values():
        scene = build_labelled_scene(data, e.image_id)
        meaning = interpret(to_form(e.form), scene)
        assert meaning.certain and tuple(scene.ids[i] for i in meaning.targets) == e.target_ids
        assert realize_from(e.form, e.language, e.choices) == e.text


def test_targets_equal_a_direct_reading_of_the_labels():
    """Class, colour, lane and order from the left, read from the labels without the project's logic."""
    raw, described = toy_grounding_content(6, seed=1)
    data, certain = GroundingData(raw), Counter()
    vehicles = ("car", "van", "truck", "bus")
    names = {**{kind: (kind,) for kind in TOY_CLASSES}, "vehicle": vehicles, "road_user": TOY_CLASSES}
    attributes = [None, *(("color", c) for c in ("white", "red", "grey")), *(("lane", k) for k in (1, 2))]
    for image_id, entries in enumerate(described):
        scene = build_labelled_scene(data, image_id)
        middles = [e["box_xyxy"][0] + e["box_xyxy"][2] for e in entries]
        for name, attribute in itertools.product(names, attributes):
            found = [i for i, e in enumerate(entries) if e["type"] in names[name]]
            if attribute and attribute[0] == "color":
                found = [i for i in found if entries[i]["color"] == attribute[1]]
            elif attribute:
                found = [i for i in found if abs(entries[i]["lane"]) == attribute[1] and entries[i]["type"] in vehicles]
            inner = ("all", ("class", name), *([attribute] if attribute else []))
            ordered = sorted(found, key=lambda i: middles[i])
            for form, expected in (
                (inner, found),
                (("rank", "left", 2, 2, inner), ordered[1:2]),
                (("rank", "right", 1, 2, inner), ordered[-2:] if len(ordered) > 1 else []),
            ):
                meaning = interpret(form, scene)
                if meaning.certain:
                    certain[form[0], min(len(expected), 2)] += 1
                    assert list(meaning.targets) == sorted(expected), form
    assert min(certain[key] for key in itertools.product(("all", "rank"), (0, 1, 2))) > 10


def test_mix_groups_and_wordings(made):
    raw, _, counts = made
    data = GroundingData(raw)
    groups = Counter(e.group for e in data.expressions.values())
    total = len(data.expressions)
    for group, share in MIX.items():
        assert groups[group] == counts[group]
        assert abs(groups[group] / total - share) < 0.06
    held_out = sum("wording:held_out" in e.tags for e in data.expressions.values())
    assert 0.15 < held_out / total < 0.45
    for image_id in data.images:
        forms = [str(e.form) for e in data.expressions.values() if e.image_id == image_id]
        assert len(set(forms)) == len(forms) <= 8


def test_the_seed_decides(made):
    raw = copy.deepcopy(made[0])
    raw["expressions"] = []
    data = GroundingData(raw)
    recipe = {"languages": ("en", "zh"), "held_out": 0.3}
    assert generate_sentences(data, Recipe(seed=3, **recipe))[0] == made[0]["expressions"]
    assert generate_sentences(data, Recipe(seed=4, **recipe))[0] != made[0]["expressions"]
    assert generate_sentences(data, Recipe(seed=3, stream=1, **recipe))[0] != made[0]["expressions"]


def test_training_sentences_hold_nothing_back():
    raw, _ = toy_grounding_content(4, seed=2)
    entries, _ = generate_sentences(GroundingData(raw), Recipe(mix={"mt": 1.0}))
    assert entries and all("wording:seen" in e["tags"] and e["kind"] == "multi" for e in entries)


def test_unknown_words_leave_the_others_in_order():
    text = "the 2nd car that is about 29 m away"
    known, made_up, kept = text.split(), 0, 0
    for seed in range(200):
        said = with_unknown_words(text, 0.2, np.random.RandomState(seed)).split()
        left = [word for word in said if word in known]
        order = iter(known)
        assert all(word in order for word in left) and {"2nd", "29"} <= set(left)
        made_up, kept = made_up + len(said) - len(left), kept + len(left)
    # A fifth of nine before, a tenth of the seven without figures in their place; made-up words may be real ones.
    assert made_up / 200 == pytest.approx(9 * 0.2 + 7 * 0.1, rel=0.15) and kept / 200 == pytest.approx(8.3, rel=0.05)
    assert with_unknown_words(text, 0.0, np.random.RandomState(0)) == text
