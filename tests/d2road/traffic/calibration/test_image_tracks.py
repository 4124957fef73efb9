"""Linking in the image: simulated vehicles keep their numbers through misses."""

import numpy as np
import pandas as pd

from d2road.traffic.calibration.image_tracks import link_in_image
from d2road.traffic.calibration.observations import CalibrationObservations
from d2road.traffic.calibration.simulated_traffic import draw_camera, simulate_traffic


def test_simulated_vehicles_are_linked_and_not_mixed():
    rng = np.random.default_rng([7, 5])
    truth = simulate_traffic(draw_camera(rng), rng, seconds=20.0)
    linked = link_in_image(truth)
    pairs = pd.DataFrame({"true": truth.rows["track"], "found": linked.rows["track"]})
    pairs = pairs[pairs["found"] >= 0]
    main = pairs.groupby("found")["true"].agg(lambda values: values.value_counts().iloc[0])
    assert len(pairs) > 0.8 * len(truth.rows)  # nearly all are linked
    assert main.sum() > 0.97 * len(pairs)  # and to themselves
    assert pairs["found"].nunique() < 1.5 * pairs["true"].nunique()  # without falling to pieces


def test_nothing_to_link_is_no_error():
    empty = pd.DataFrame({name: [] for name in ("frame", "t", "track", "cls", "score", "x1", "y1", "x2", "y2")})
    assert len(link_in_image(CalibrationObservations.from_frame(empty, 960, 540))) == 0
