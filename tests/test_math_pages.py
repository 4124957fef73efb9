"""The pages of mathematics: symbols are mapped to functions, and every formula is one that GitHub and the site show."""

import re

import pytest

PAGES = ("math_diffusion_det.md", "math_efficientad.md", "math_mono3dvg.md")
NAMES = re.compile(r"`((?:diffusion_det|efficientad|mono3dvg|d2road)(?:\.\w+)+)`")
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", re.S)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_maps_its_symbols_to_functions(page, repo_dir):
    """That these exist, tests/test_docs.py sees of every page."""
    text = (repo_dir / "docs" / page).read_text()
    assert len(set(NAMES.findall(text))) > 15


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
