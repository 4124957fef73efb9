"""PatchCore as a model: distances against all pairs, maps against scipy, batches, sizes, batch-independence."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist

from d2road.utils.errors import DataError
from efficientad.conformal import split_threshold
from efficientad.modeling.patch_embedding import embed_patches
from tests.factories.anomaly_models import SIDE, entries
from tests.factories.bank_models import bank_cfg, bank_data, fitted


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("bank"))


def published_score(features: np.ndarray, bank: np.ndarray, neighbours: int) -> float:
    """Eq. 6 and 7 of the paper, all distances at once."""
    distances = cdist(features, bank)
    worst = int(distances.min(1).argmax())
    nearest = int(distances[worst].argmin())
    around = np.argsort(cdist(bank[nearest : nearest + 1], bank)[0], kind="stable")[:neighbours]
    weights = np.exp(distances[worst][around] - distances[worst][around].max())
    own = np.exp(distances[worst][nearest] - distances[worst][around].max())
    return float((1 - own / weights.sum()) * distances[worst].min())


def test_scores_and_maps_are_those_of_all_distances(model):
    (entry,) = entries(1, seed=5)
    (found,) = model([entry])
    layers = model.extractor(entry["image"][None])
    features = embed_patches(layers, 3)[0].flatten(1).T.double().numpy()
    bank = model.state.vectors.double().numpy()
    assert float(found["anomaly_score"]) == pytest.approx(published_score(features, bank, 9), rel=1e-4)
    cells = torch.from_numpy(cdist(features, bank).min(1)).view(1, 1, SIDE // 8, SIDE // 8)
    large = F.interpolate(cells, size=(SIDE, SIDE), mode="bilinear", align_corners=False)[0, 0].numpy()
    expected = gaussian_filter(large, 4.0, mode="nearest", truncate=4.0)
    np.testing.assert_allclose(found["anomaly_map"].numpy(), expected, rtol=1e-3)
    assert found["map_score"] == found["anomaly_map"].max()


def test_what_is_found_does_not_depend_on_the_batch_nor_its_sizes(model):
    batch = [*entries(2, seed=1), *entries(1, (96, 136), seed=2), *entries(1, (100, 131), seed=3)]
    together = model(batch)
    for entry, found in zip(batch, together):
        (alone,) = model([entry])
        assert found["anomaly_map"].shape == (entry["height"], entry["width"]) == tuple(entry["image"].shape[-2:])
        torch.testing.assert_close(found["anomaly_map"], alone["anomaly_map"], rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(found["anomaly_score"], alone["anomaly_score"], rtol=1e-4, atol=1e-3)


def test_maps_have_the_size_of_the_image_before_it_was_resized(model):
    (entry,) = entries(1)
    (found,) = model([{**entry, "height": 77, "width": 301}])
    assert found["anomaly_map"].shape == (77, 301)


def test_a_dark_blot_is_found_where_it_is(tmp_path):
    from d2road.data import build_test_loader, register_by_name

    train, test = bank_data(tmp_path / "again")
    model = fitted(tmp_path / "bank")
    register_by_name(test)
    cfg = bank_cfg("DATASETS.TRAIN", (train,))
    scores = {0: [], 1: []}
    for (entry,) in build_test_loader(cfg, test):
        (found,) = model([entry])
        scores[entry["label"]].append(float(found["anomaly_score"]))
        if entry["label"]:
            import cv2

            mask = cv2.imread(entry["mask_files"][0], cv2.IMREAD_GRAYSCALE) > 0
            heat = found["anomaly_map"].numpy()
            assert heat[mask].mean() > 1.5 * heat[~mask].mean()
            assert float(found["anomaly_score"]) > float(found["anomaly_threshold"])
    assert min(scores[1]) > max(scores[0])


def test_an_image_of_the_bank_has_no_distance_to_it(tmp_path):
    keys = ["MODEL.PATCHCORE.BANK_SIZE", 10000, "MODEL.PATCHCORE.BLUR", 0.0]
    model = fitted(tmp_path, *keys)
    assert model.state.is_by_image and len(model.state.images) == 7 * (SIDE // 8) ** 2
    from d2road.data import build_test_loader

    cfg = bank_cfg("DATASETS.TRAIN", (f"mvtec:{tmp_path}/tiles",))
    for (entry,) in build_test_loader(cfg, cfg.DATASETS.TRAIN[0]):
        assert float(model([entry])[0]["anomaly_map"].abs().max()) == 0


def test_leave_one_out_scores_are_those_of_banks_without_the_image(tmp_path):
    """All vectors of all images are in the bank: without one image it is the bank of the others."""
    keys = ["MODEL.PATCHCORE.BANK_SIZE", 10000, "MODEL.PATCHCORE.CALIBRATION.METHOD", "leave_one_out"]
    keys += ["MODEL.PATCHCORE.CALIBRATION.FALSE_POSITIVE_RATE", 0.3]
    from d2road.data import build_test_loader

    cfg = bank_cfg("DATASETS.TRAIN", (f"mvtec:{tmp_path}/tiles",))
    fitted(tmp_path, *keys)
    for neighbours in (1, 9):  # a weighted score is below the largest distance, whose threshold it takes
        model = refitted(cfg, [*keys, "MODEL.PATCHCORE.REWEIGHT_NEIGHBOURS", neighbours])
        features = []
        for (entry,) in build_test_loader(cfg, cfg.DATASETS.TRAIN[0]):
            features.append(embed_patches(model.extractor(entry["image"][None]), 3)[0].flatten(1).T.double().numpy())
        scores = []
        for number, own in enumerate(features):
            others = np.concatenate(features[:number] + features[number + 1 :])
            distances = cdist(own, others).min(1)
            scores.append(distances.max())
        expected = split_threshold(scores, 0.3, True).value
        assert model.anomaly_threshold() == pytest.approx(expected, rel=1e-3)
        guarantee = model.state.guarantee
        assert guarantee.method == "leave-one-out" and guarantee.n == 7 and guarantee.holds


def refitted(cfg, keys):
    from detectron2.modeling import build_model

    again = bank_cfg("DATASETS.TRAIN", cfg.DATASETS.TRAIN, *keys)
    model = build_model(again).eval()
    model.fit(again)
    return model


def test_scores_of_other_images_than_the_banks_are_not_taken_for_leave_one_out(tmp_path):
    model = fitted(tmp_path / "one")
    (other,) = entries(1, seed=8)
    with pytest.raises(DataError, match=r"DATASETS.TRAIN is other data than that of the bank"):
        model._assess_without_own({**other, "file_name": "x.png"}, 0)


def test_a_sample_that_is_not_random_promises_nothing(tmp_path):
    model = fitted(tmp_path, "MODEL.PATCHCORE.CALIBRATION.RANDOM_SAMPLE", False)
    assert not model.state.guarantee.holds and model.state.has_threshold


def test_training_by_steps_is_a_bug(model):
    model.train()
    try:
        assert not any(module.training for module in model.extractor.modules())
        with pytest.raises(RuntimeError, match="no losses"):
            model(entries(1))
    finally:
        model.eval()


def test_bad_pixels_are_refused_by_name(model):
    (entry,) = entries(1, file_name="bad.png")
    entry["image"][0, 0, 0] = float("nan")
    with pytest.raises(DataError, match=r"bad\.png: image has pixels that are NaN"):
        model([entry])
