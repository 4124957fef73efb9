"""Networks of EfficientAD: patch description networks, autoencoders, memory bank."""
