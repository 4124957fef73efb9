"""Sentences as token features: pretrained or small encoders, tokenizers, the word filter."""
