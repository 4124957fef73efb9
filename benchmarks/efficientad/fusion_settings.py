"""How the benchmark of fused maps combines them."""

BENCH = "efficientad_fusion"
Weights = tuple[float, float, float]
# Of the maps of student, autoencoder and bank: how they are combined.
PARTS: dict[str, tuple[str, Weights]] = {
    "student": ("mean", (1, 0, 0)),
    "autoencoder": ("mean", (0, 1, 0)),
    "bank": ("mean", (0, 0, 1)),
}
FUSIONS: dict[str, tuple[str, Weights]] = {
    "student_autoencoder": ("mean", (1, 1, 0)),  # EfficientAD as it is
    "student_bank": ("mean", (1, 0, 1)),
    "autoencoder_bank": ("mean", (0, 1, 1)),
    "equal": ("mean", (1, 1, 1)),
    "bank_two_thirds": ("mean", (1, 1, 4)),
    "largest": ("max", (1, 1, 1)),
}
