"""Fusion of anomaly maps: student and autoencoder of an EfficientAD and the memory bank of a PatchCore as one model."""
