"""Fusion of a sentence with image features: variants by name, and the neck that applies them in stages."""
