"""Pretrained text encoders of transformers, and embeddings of short texts such as class names."""
