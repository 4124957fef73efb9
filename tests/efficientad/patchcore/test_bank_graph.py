"""PatchCore as one file: distances are those of all pairs in float64, scores and maps the model's."""

import numpy as np
import pytest
import torch

from d2road.export.graph import ExportOptions
from d2road.export.test_images import generated_images
from efficientad.modeling.memory_bank import MemoryBank
from efficientad.patchcore import bank_graph
from efficientad.patchcore.bank_graph import BankGraph
from tests.efficientad.inference.test_student_graph import as_the_model_does, photograph
from tests.factories.bank_models import fitted
from tests.factories.exported_files import ENGINES, assert_equal, onnx_file


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("bank"))


@torch.no_grad()
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_distances_keep_their_digits_where_a_product_loses_them(precision, monkeypatch):
    monkeypatch.setattr(bank_graph, "CHUNK", 130)  # four parts
    rng = np.random.default_rng(0)
    vectors = rng.normal(0, 1, (500, 24)) + 300  # far from the origin, as features behind a ReLU are
    bank = MemoryBank(torch.tensor(vectors, dtype=torch.float32), precision)
    kept = bank.vectors.double().numpy()
    near = kept[rng.integers(0, 500, 60)] + rng.normal(0, 1e-3, (60, 24))
    features = torch.tensor(np.concatenate([near, rng.normal(0, 2, (60, 24)) + 300]), dtype=torch.float32)
    expected = np.linalg.norm(features.double().numpy()[:, None] - kept[None], axis=2)  # (120, 500)
    distances, positions = BankGraph(bank, 9)(features)
    np.testing.assert_allclose(distances, expected.min(1), rtol=2e-2 if precision == "fp32" else 1e-1, atol=1e-4)
    np.testing.assert_allclose(expected[np.arange(120), positions], expected.min(1), rtol=1e-6)
    scores = BankGraph(bank, 9).scores(features[None], distances[None], positions[None])
    assert float(scores) == pytest.approx(float(bank.image_score(features, bank.distances(features), 9)), rel=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_file_says_what_the_model_says(engine, model, tmp_path):
    graph = model.export_graph(None, generated_images(), ExportOptions())
    session = engine(onnx_file(graph, tmp_path))
    for height, width, count in ((300, 200, 2), (100, 140, 1)):
        images = [photograph(height, width, seed) for seed in range(count)]
        assert_equal(session.run({"images": np.stack(images)}), as_the_model_does(model, images), graph)
    spread = float(model.state.map_threshold - model.state.map_start)
    assert graph.tolerances["anomaly_map"][0] == pytest.approx(1e-3 * spread)


def test_without_weights_of_neighbours_and_in_8_bits(tmp_path):
    model = fitted(tmp_path, "MODEL.PATCHCORE.REWEIGHT_NEIGHBOURS", 1, "MODEL.PATCHCORE.PRECISION", "int8")
    graph = model.export_graph(None, generated_images(), ExportOptions())
    images = [photograph(150, 130, 3)]
    found = ENGINES[0](onnx_file(graph, tmp_path)).run({"images": np.stack(images)})
    assert_equal(found, as_the_model_does(model, images), graph)
