"""The verdict is that of the conformal promise: strictly above the threshold."""

from d2road.evaluation.verdicts import anomaly_verdict


def test_a_score_at_the_threshold_is_good():
    assert [anomaly_verdict(score, 0.5) for score in (0.4, 0.5, 0.6)] == ["good", "good", "anomalous"]
    assert anomaly_verdict(0.6, None) == ""
