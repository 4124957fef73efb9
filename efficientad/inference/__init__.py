"""Inference of EfficientAD: fused and quantized networks, tiles, anomaly maps."""
