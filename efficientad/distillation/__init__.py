"""Distillation of a teacher from a pretrained network."""
