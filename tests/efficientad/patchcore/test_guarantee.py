"""Thresholds of PatchCore without held-out images: every one of n + 1 images as the next one, never too often above."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2road.utils.errors import ConfigError
from efficientad.conformal import achievable_rate, leave_one_out_threshold
from efficientad.modeling.memory_bank import MemoryBank
from efficientad.patchcore.bank_fit import choose_within_images
from tests.factories.bank_models import fitted


def draw_images(seed: int, count: int) -> list[Tensor]:
    """Images of 12 vectors, some stranger than others."""
    rng = np.random.default_rng(seed)
    drawn = [
        rng.normal(size=(12, 3)) * rng.choice([0.5, 1, 3]) + rng.choice([0, 2], size=(12, 1)) for _ in range(count)
    ]
    return [torch.tensor(vectors, dtype=torch.float32) for vectors in drawn]


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 2**20),
    st.integers(4, 8),
    st.sampled_from([0.1, 0.2, 0.34, 0.5]),
    st.sampled_from([1, 4, 9]),
    st.sampled_from(["fp32", "int8"]),
)
def test_the_rate_is_kept_by_weighted_scores_of_a_bank_chosen_within_images(seed, n, rate, neighbours, precision):
    images, above = draw_images(seed, n + 1), 0
    whole = torch.cat(images)
    chosen = choose_within_images([12] * (n + 1), whole, 4 * (n + 1), seed=0)
    for i in range(n + 1):
        others = chosen[chosen // 12 != i]  # what an image gives does not depend on the others
        bank = MemoryBank(whole[others], precision, others // 12)
        own = [float(bank.distances(images[j], without_image=j).max()) for j in range(n + 1) if j != i]
        slack = 2 * bank.rounding
        threshold = leave_one_out_threshold(own, rate, True, monotone=True, covering_radius=slack)
        score = bank.image_score(images[i], bank.distances(images[i]), neighbours)
        above += float(score) > threshold.value * (1 + 1e-6)
    assert above <= round(achievable_rate(n, rate) * (n + 1))


def test_each_image_gives_its_share_and_does_not_depend_on_the_others():
    images = draw_images(1, 5)
    chosen = choose_within_images([12] * 5, torch.cat(images), 23, seed=3)
    assert torch.equal(chosen // 12, torch.arange(5).repeat_interleave(4)) and len(chosen.unique()) == 20
    others = choose_within_images([12] * 5, torch.cat([images[0], *draw_images(2, 4)]), 23, seed=3)
    assert torch.equal(chosen[:4], others[:4])
    with pytest.raises(ConfigError, match=r"BANK_SIZE is 4, there are 5 images"):
        choose_within_images([12] * 5, torch.cat(images), 4, seed=3)


@pytest.mark.parametrize(
    ("coreset", "size", "promises"), [("within_images", 80, True), ("greedy", 80, False), ("greedy", 10**4, True)]
)
def test_a_model_says_what_its_leave_one_out_threshold_promises(tmp_path, coreset, size, promises):
    keys = ("MODEL.PATCHCORE.CORESET", coreset, "MODEL.PATCHCORE.BANK_SIZE", size)
    model = fitted(tmp_path, *keys, "MODEL.PATCHCORE.CALIBRATION.METHOD", "leave_one_out")
    guarantee = model.state.guarantee
    assert guarantee is not None and guarantee.n == 7
    assert guarantee.guaranteed_rate == (pytest.approx(1 / 8) if promises else None)
    assert ("at most 0.125 (leave-one-out, 7" if promises else "without guarantee: leave-one-out") in guarantee.text
