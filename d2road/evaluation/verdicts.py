"""Verdicts of anomaly detectors, in the words that files, drawings and pages have."""

ANOMALOUS, GOOD = "anomalous", "good"


def anomaly_verdict(score: float, threshold: float | None) -> str:
    """ANOMALOUS above the threshold, else GOOD; "" where there is none."""
    return "" if threshold is None else ANOMALOUS if score > threshold else GOOD
