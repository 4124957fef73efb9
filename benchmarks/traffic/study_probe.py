"""A supervised probe: whether the features of images hold what an incident is, which no other experiment is told."""

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.traffic.study_experiments import embed_part, of_part, to_cells
from benchmarks.traffic.study_windows import SEED, StudyWindow

FOLDS = 4
GOOD_CELLS = 40  # of each good window that a probe learns from
HIGHEST = 5  # cells that a window scores by


def probe_features(windows: Sequence[StudyWindow], view: str) -> dict[str, object]:
    """Window AUROC of a linear probe of each kind, which is taught culprits' cells against those of good vehicles.

    Cross-validated over windows. A window scores by the mean of its highest cells among all with vehicles, culprits or
    not, as an anomaly detector would. It is no detector, for it knows the kind: what it cannot tell, the features lack.
    """
    embedded = embed_part(tuple(windows), view, False)
    rng, tested = np.random.default_rng(SEED), ("good", "incident")
    some = {part: of_part(windows, part) for part in tested}
    vectors, culprits = {}, []
    for part in tested:
        masks = [to_cells(one.render(view).any(axis=-1)) for one in some[part]]
        vectors[part] = [f.float().numpy()[:, mask].T for f, mask in zip(embedded[part], masks)]
    for one, features in zip(some["incident"], embedded["incident"]):
        culprits.append(features.float().numpy()[:, to_cells(one.mask(view))].T)
    drawn = [rng.permutation(one)[:GOOD_CELLS] for one in vectors["good"]]
    by_kind = {}
    for kind in sorted({one.kind for one in some["incident"]}):
        mine = [number for number, one in enumerate(some["incident"]) if one.kind == kind]
        scores, labels = [], []
        for fold in range(FOLDS):
            good = np.concatenate([one for number, one in enumerate(drawn) if number % FOLDS != fold])
            bad = np.concatenate([culprits[number] for place, number in enumerate(mine) if place % FOLDS != fold])
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=300))
            probe.fit(np.concatenate([good, bad]), np.repeat([0, 1], [len(good), len(bad)]))
            held_out = [vectors["good"][n] for n in range(fold, len(drawn), FOLDS)]
            held_out += [vectors["incident"][n] for n in mine[fold::FOLDS]]
            scores += [float(np.sort(probe.decision_function(one))[-HIGHEST:].mean()) for one in held_out]
            labels += [0] * len(range(fold, len(drawn), FOLDS)) + [1] * len(mine[fold::FOLDS])
        by_kind[kind] = float(roc_auc_score(labels, scores))
    return {"by_kind": by_kind, "mean": float(np.mean(list(by_kind.values())))}
