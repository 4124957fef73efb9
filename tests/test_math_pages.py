"""The pages of mathematics: what they name exists, and every formula is one that the site can show."""

import importlib
import re

import pytest

from d2road.config import make_cfg

PAGES = ("math_diffusion_det.md", "math_efficientad.md", "math_mono3dvg.md")
NAMES = re.compile(r"`((?:diffusion_det|efficientad|mono3dvg|d2road)(?:\.\w+)+)`")
KEYS = re.compile(r"`((?:MODEL|DATASETS|SOLVER|INPUT|TEST)(?:\.\w+)+)(?: \w+)?`")
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", re.S)


def find(name):
    """A module, or what is in one, by its dotted name."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


@pytest.mark.parametrize("page", PAGES)
def test_functions_and_keys_that_a_page_names_exist(page, repo_dir):
    text = (repo_dir / "docs" / page).read_text()
    names = sorted(set(NAMES.findall(text)))
    assert len(names) > 15
    missing = []
    for name in names:
        try:
            find(name)
        except (ModuleNotFoundError, AttributeError) as error:
            missing.append(f"{name}: {error}")
    assert not missing, "\n".join(missing)
    cfg = make_cfg()
    for key in KEYS.findall(text):
        node = cfg
        for part in key.split("."):
            assert part in node, key
            node = node[part]


@pytest.mark.parametrize("page", PAGES)
def test_formulas_are_balanced_and_the_page_tells_its_sources(page, repo_dir):
    text = (repo_dir / "docs" / page).read_text()
    formulas = [a or b for a, b in FORMULA.findall(text)]
    assert len(formulas) > 30 and text.count("$") % 2 == 0
    for formula in formulas:
        assert formula.count("{") - formula.count(r"\{") == formula.count("}") - formula.count(r"\}"), formula
        assert len(re.findall(r"\\left(?![a-z])", formula)) == len(re.findall(r"\\right(?![a-z])", formula)), formula
        assert formula.count(r"\begin") == formula.count(r"\end"), formula
        assert formula == formula.strip(), f"GitHub takes a space beside $ for text: {formula!r}"
    assert "**Differs**" in text or "**Differs from" in text
    assert re.search(r"20\d\d", text)
