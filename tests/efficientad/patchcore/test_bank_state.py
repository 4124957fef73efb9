"""State of a PatchCore model: saved, loaded in any size, refused where it does not fit."""

import pytest
import torch

from d2road.utils.errors import CheckpointError
from efficientad.conformal import split_threshold
from efficientad.modeling.memory_bank import MemoryBank
from efficientad.patchcore.bank_state import BankState
from efficientad.patchcore.patchcore_detector import PatchCore
from tests.factories.bank_models import bank_cfg

ARCHITECTURE = {"FEATURES": "efficientnet_lite0", "LAYERS": "s8+s16", "NEIGHBOURHOOD": 3}
GUARANTEE = split_threshold([1.0, 2.0, 3.0], 0.3, True).guarantee


def state(precision: str = "fp32", setting: str = "images of their own size", **other) -> BankState:
    return BankState({**ARCHITECTURE, **other}, setting, precision)


def filled(precision: str = "fp32") -> BankState:
    generator = torch.Generator().manual_seed(1)
    made = state(precision)
    made.set_bank(torch.rand(30, 6, generator=generator), torch.arange(30) // 10, "a network", by_image=True)
    made.set_thresholds(3.0, 2.0, 1.0, GUARANTEE)
    return made


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_bank_thresholds_and_guarantee_travel_with_the_weights(precision):
    made, loaded = filled(precision), state(precision)
    loaded.load_state_dict(made.state_dict())
    loaded.require_calibration()
    queries = torch.rand(7, 6)
    assert torch.equal(loaded.bank.distances(queries), made.bank.distances(queries))
    assert torch.equal(loaded.bank.distances(queries, 1), made.bank.distances(queries, 1))
    assert (loaded.threshold, loaded.map_threshold, loaded.map_start, loaded.is_by_image) == (3.0, 2.0, 1.0, True)
    assert loaded.guarantee == GUARANTEE and loaded.text("features") == "a network"


@pytest.mark.parametrize("search", ["integer", "principal"])
def test_neighbours_are_searched_as_the_key_says(search):
    cfg = bank_cfg("MODEL.PATCHCORE.SEARCH", search)
    made = BankState(ARCHITECTURE, "", search=PatchCore.from_config(cfg)["search"])
    made.set_bank(torch.rand(30, 6), torch.arange(30) // 10, "a network")
    banks = [made.bank]
    loaded = BankState(ARCHITECTURE, "", search=search)
    loaded.load_state_dict(made.state_dict())
    banks.append(loaded.bank)
    loaded.add_image(torch.rand(10, 6), 1)
    banks.append(loaded.bank)
    loaded.remove_image(1)
    banks.append(loaded.bank)
    assert [bank._search.integer is not None for bank in banks] == [search == "integer"] * 4


def test_a_bank_in_int8_is_a_quarter_of_the_size_and_knows_the_same_images():
    made, small = filled(), filled("int8")
    sizes = [sum(v.nbytes for n, v in s.state_dict().items() if v.ndim == 2) for s in (made, small)]
    assert sizes[0] == 4 * sizes[1]
    for image in range(3):
        whole = made.vectors_of(image)
        assert len(whole) == 10 and float((small.vectors_of(image) - whole).norm(dim=1).max()) <= small.bank.rounding
    assert len(made.vectors_of(7)) == 0


def test_a_new_bank_voids_the_thresholds_of_the_one_before():
    made = filled()
    made.set_bank(torch.rand(4, 6), torch.zeros(4), "a network")
    assert not made.has_threshold and made.guarantee is None and len(made.bank) == 4
    with pytest.raises(CheckpointError, match="not calibrated"):
        made.require_calibration()


def test_a_bank_of_other_features_or_precision_is_refused():
    stored = filled().state_dict()
    with pytest.raises(
        CheckpointError, match=r"LAYERS s8\+s16.* the config says .*LAYERS s4, NEIGHBOURHOOD 3: features of different"
    ):
        state(LAYERS="s4").load_state_dict(stored)
    with pytest.raises(CheckpointError, match=r"bank in fp32, MODEL.PATCHCORE.PRECISION is int8.*export --precision"):
        state("int8").load_state_dict(stored)


def test_thresholds_of_another_setting_are_refused():
    other = state(setting="images of 64 x 64 pixels")
    other.load_state_dict(filled().state_dict())
    with pytest.raises(CheckpointError, match="calibrated for images of their own size, the config says images of 64"):
        other.require_calibration()


@pytest.mark.parametrize("damage", [{"images": torch.zeros(3)}, {"vectors": torch.full((30, 6), torch.nan)}])
def test_a_damaged_bank_is_refused(damage):
    loaded = state()
    loaded.load_state_dict({**filled().state_dict(), **damage})
    with pytest.raises(CheckpointError, match="memory bank is damaged"):
        loaded.require_calibration()


def test_a_damaged_threshold_is_refused():
    loaded = state()
    loaded.load_state_dict({**filled().state_dict(), "threshold": torch.tensor(float("nan"))})
    with pytest.raises(CheckpointError, match="thresholds of this model are NaN"):
        loaded.require_calibration()


def test_without_a_bank_the_cure_is_told():
    with pytest.raises(CheckpointError, match="no memory bank yet: fit it with d2road train"):
        state().require_calibration()


def test_the_bank_follows_the_device_and_dtype_of_its_buffers():
    made = filled()
    first = made.bank
    assert made.bank is first and isinstance(first, MemoryBank)
    made.to("cpu")
    assert made.bank is not first
