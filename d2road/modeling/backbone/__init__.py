"""Backbones and necks: timm adapter, DLA, Swin, ViT, and ImageNet weights from installed packages."""
