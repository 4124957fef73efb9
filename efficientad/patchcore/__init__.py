"""PatchCore: anomaly detection by nearest neighbours among the features of good images, without training.

Roth et al., Towards Total Recall in Industrial Anomaly Detection, CVPR 2022.
"""
