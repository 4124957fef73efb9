"""Generator of referring expressions for the images of grounding data, with exact targets.

Each sentence is realized from a logical form, and its targets are what that form denotes in the scene; whatever is in
doubt (see `kleene`) is not used. The mix of kinds is kept over the whole split as far as the scenes allow.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from d2road.utils.errors import ConfigError
from mono3dvg.language.form_sampler import FormSampler, is_odd
from mono3dvg.language.labelled_scene import LabelledScene, build_labelled_scene
from mono3dvg.language.logical_forms import form_tags, form_to_json, head_classes
from mono3dvg.language.predicates import GROUPS
from mono3dvg.language.realization import LANGUAGES, realize
from mono3dvg.language.semantics import interpret

if TYPE_CHECKING:
    from mono3dvg.schema import GroundingData

MIX = {"st_w_d": 0.40, "st_wo_d": 0.10, "mt": 0.25, "zt_w_d": 0.15, "zt_wo_d": 0.10}
TRIED = 3  # candidates compared for one sentence
ZERO_PLURAL, SINGLE_PLURAL = 0.4, 0.15  # so that the number of the noun does not give the number of targets away


@dataclass(frozen=True)
class Recipe:
    """How to make sentences.

    seed: with `stream` and the position of an image decides its sentences; splits of one data set have a stream each.
    per_image: as many as are found up to this. languages: drawn for each sentence. held_out: share of sentences whose
    paraphrases are held out (0 for training); varied: of the others, the share in all ways to say it that are not held
    out, those for training alone among them. mix: shares of the groups (zero, single, multi target, with and without
    distractors). proposals: forms tried for an image. most_targets: of one sentence. units: of distances.
    """

    seed: int = 0
    stream: int = 0
    per_image: int = 8
    languages: tuple[str, ...] = ("en",)
    held_out: float = 0.0
    varied: float = 0.0
    mix: Mapping[str, float] = field(default_factory=lambda: dict(MIX))
    proposals: int = 60
    most_targets: int = 10
    units: tuple[str, ...] = ("m",)

    def __post_init__(self) -> None:
        unknown = [language for language in self.languages if language not in LANGUAGES]
        if unknown or not self.languages:
            raise ConfigError(f"languages {list(self.languages)}: choose among {', '.join(LANGUAGES)}")
        if self.per_image < 1 or self.proposals < 1 or self.seed < 0:
            raise ConfigError("seed must be 0 or more, per_image and proposals at least 1")
        if (
            not 0 <= self.held_out <= 1
            or not 0 <= self.varied <= 1
            or set(self.mix) - set(MIX)
            or sum(self.mix.values()) <= 0
        ):
            raise ConfigError(f"held_out and varied are shares, and mix gives shares of {', '.join(MIX)}")


@dataclass(frozen=True)
class Candidate:
    """A form, what it means and its group."""

    form: tuple
    targets: tuple[int, ...]
    group: str


def generate_sentences(data: "GroundingData", recipe: Recipe) -> tuple[list[dict[str, Any]], Counter]:
    """Entries of `expressions` for all images, ids from 0 on, and counts of what was made and rejected."""
    category_of = {name: key for key, name in data.categories.items()}
    counts: Counter = Counter()
    entries: list[dict[str, Any]] = []
    for index, image_id in enumerate(data.images):
        rng = np.random.default_rng([recipe.seed, recipe.stream, index])
        scene = build_labelled_scene(data, image_id)
        pool = find_candidates(scene, rng, list(category_of), recipe, counts)
        chosen = choose_candidates(pool, recipe, counts, rng)
        counts["images with fewer sentences"] += len(chosen) < recipe.per_image
        for candidate in chosen:
            spoken = _members(candidate.form, list(category_of))
            entry = make_entry(candidate, scene, rng, recipe)
            entry["category_ids"] = [category_of[name] for name in spoken]
            entries.append({"id": len(entries), "image_id": image_id, **entry})
    return entries, counts


def draw_sentences(
    scene: LabelledScene, rng: np.random.Generator, kinds: Sequence[str], recipe: Recipe
) -> list[dict[str, Any]]:
    """New sentences about one scene in the mix of the recipe, without ids and categories: a stream of training data.

    Args:
        rng: draws them; the seed and stream of the recipe are not used.
        kinds: class names of the data.
    """
    counts: Counter = Counter()
    pool = find_candidates(scene, rng, kinds, recipe, counts)
    return [make_entry(candidate, scene, rng, recipe) for candidate in choose_candidates(pool, recipe, counts, rng)]


def find_candidates(
    scene: LabelledScene, rng: np.random.Generator, kinds: Sequence[str], recipe: Recipe, counts: Counter
) -> dict[str, list[Candidate]]:
    """Certain forms of a scene by group, no form twice."""
    sampler = FormSampler(scene, rng, kinds, recipe.units)
    pool: dict[str, list[Candidate]] = {group: [] for group in MIX}
    seen: set[tuple] = set()
    for _ in range(recipe.proposals):
        form = sampler.propose_absent() if rng.random() < 0.05 else sampler.propose()
        if form is None:
            continue
        for proposal in (form, sampler.perturb(form)):
            if proposal in seen or is_odd(proposal):
                continue
            seen.add(proposal)
            meaning = interpret(proposal, scene)
            if not meaning.certain or len(meaning.targets) > recipe.most_targets or _is_unclear(proposal, scene):
                counts["rejected"] += 1
                continue
            candidate = Candidate(proposal, meaning.targets, group_of(proposal, meaning.targets, scene, kinds))
            pool[candidate.group].append(candidate)
    return pool


def group_of(form: tuple, targets: Sequence[int], scene: LabelledScene, kinds: Sequence[str]) -> str:
    """mt, st_w_d, ...: distractors are other objects of the targets' class, or of a class that is spoken of."""
    if len(targets) > 1:
        return "mt"
    meant = {scene.kinds[i] for i in targets} or set(_members(form, kinds))
    others = any(scene.kinds[i] in meant for i in range(len(scene)) if i not in targets and not scene.ignore[i])
    return f"{'s' if targets else 'z'}t_{'w' if others else 'wo'}_d"


def choose_candidates(
    pool: Mapping[str, Sequence[Candidate]], recipe: Recipe, counts: Counter, rng: np.random.Generator
) -> list[Candidate]:
    """Up to `per_image` candidates, each of the group that is farthest behind its share so far.

    Of a few, the one is taken that says what has been said least.
    """
    left = {group: [pool[group][i] for i in rng.permutation(len(pool[group]))] for group in pool}
    shares = {group: share / sum(recipe.mix.values()) for group, share in recipe.mix.items()}
    chosen = []
    for _ in range(recipe.per_image):
        possible = [group for group, share in shares.items() if share > 0 and left[group]]
        if not possible:
            break
        total = sum(counts[group] for group in MIX) + 1
        group = max(possible, key=lambda g: shares[g] * total - counts[g])
        counts[group] += 1
        candidate = max(left[group][-TRIED:], key=lambda c: _rarity(c, counts))
        left[group].remove(candidate)
        counts.update(f"tag {tag}" for tag in form_tags(candidate.form))
        chosen.append(candidate)
    return chosen


def _rarity(candidate: Candidate, counts: Counter) -> float:
    """Of the rarest thing that it says, so far."""
    return max(1 / (1 + counts[f"tag {tag}"]) for tag in form_tags(candidate.form))


def make_entry(candidate: Candidate, scene: LabelledScene, rng: np.random.Generator, recipe: Recipe) -> dict[str, Any]:
    """The entry of a candidate, without ids."""
    language = str(rng.choice(list(recipe.languages)))
    paraphrases = "held_out" if rng.random() < recipe.held_out else "seen"
    if paraphrases == "seen" and recipe.varied and rng.random() < recipe.varied:
        paraphrases = "varied"
    sentence = realize(candidate.form, language, draw_plurality(candidate.form, scene, rng), rng, paraphrases)
    used = "held_out" if sentence.held_out else "seen"
    return {
        "text": sentence.text,
        "target_ids": [scene.ids[i] for i in candidate.targets],
        "kind": {"m": "multi", "s": "single", "z": "zero"}[candidate.group[0]],
        "distractors": _has_distractors(candidate, scene),
        "tags": [*form_tags(candidate.form), f"language:{language}", f"wording:{used}"],
        "language": language,
        "form": form_to_json(candidate.form),
        "choices": list(sentence.choices),
    }


def draw_plurality(form: tuple, scene: LabelledScene, rng: np.random.Generator) -> int:
    """`many` of `realization.realize`: plural for several targets, now and then for one or none."""
    if form[0] == "union":
        return draw_plurality(form[1], scene, rng) | draw_plurality(form[2], scene, rng) << 1
    if form[0] != "all":
        return 0
    count = len(interpret(form, scene).targets)
    return 1 if count > 1 else int(rng.random() < (SINGLE_PLURAL if count else ZERO_PLURAL))


def _has_distractors(candidate: Candidate, scene: LabelledScene) -> bool:
    if candidate.group != "mt":
        return candidate.group.endswith("w_d")
    meant = {scene.kinds[i] for i in candidate.targets}
    rest = set(range(len(scene))) - set(candidate.targets)
    return any(scene.kinds[i] in meant and not scene.ignore[i] for i in rest)


def _members(form: tuple, kinds: Sequence[str]) -> list[str]:
    """Classes of the data that the targets may be of by what is said."""
    spoken = {member for name in head_classes(form) for member in GROUPS.get(name, (name,))}
    return [kind for kind in kinds if kind in spoken]


def _is_unclear(form: tuple, scene: LabelledScene) -> bool:
    """Whether the parts of a union share objects, or one of them alone means nothing: readers differ on such."""
    if form[0] != "union":
        return False
    first, second = (set(interpret(part, scene).targets) for part in form[1:])
    return bool(first & second) or bool(first) != bool(second)
