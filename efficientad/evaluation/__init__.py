"""Evaluation of anomaly maps: ranking metrics, AU-PRO, sPRO, bootstrap intervals."""
