"""Variants of the toy benchmark of grounding, which its runs and its tables go by.

The config of a variant or stage is configs/mono3dvg/toy_grounding/<name>.yaml, that of "main" effnet_lite0.yaml; its
records are in benchmarks/results/mono3dvg_toy/<name>_seed<N>.
"""

BENCH = "mono3dvg_toy"
# Name: what the tables call it.
VARIANTS = {
    "more_views": "main model, 4000 views instead of 1000, longer stages",
    "more_views_pretrained": "the same detector with a pretrained sentence encoder",
    "main": "main model",
    "no_presence": "main model without a head for presence",
    "data_sentences": "main model, sentences of the data alone, no head for presence",
    "pretrained": "the same with a pretrained sentence encoder",
    "ablation_base": "base of the ablations, schedule of the main model",
    "text_conditioned_long": "text-conditioned fusion, schedule of the main model",
    "text_conditioned": "text-conditioned fusion",
    "unidirectional": "unidirectional fusion, that of the main model",
    "bidirectional": "bidirectional fusion",
    "cross_attention": "cross-attention",
    "mamba_fusion": "fusion of Mamba-YOLO-World",
    "no_text_filter": "no TextFilter, text-conditioned fusion",
    "fusion_stages1": "1 fusion stage",
    "fusion_stages2": "2 fusion stages",
    "query": "queries",
    "no_relation": "no relation layer",
    "minilm": "pretrained sentence encoder, kept as it is",
    "image_only": "image only: ignores the sentence",
    "text_only": "text only: ignores the image",
}

# Training stages that precede a variant, in order: detection from boxes, then language from labels. Most variants share
# those of the base of the ablations; others have parts of their own in them.
SHARED_STAGES: tuple[str, ...] = ("ablation_base_boxes", "ablation_base_labels")
OWN_STAGES: dict[str, tuple[str, ...]] = {
    "more_views": ("more_views_labels_seen", "more_views_labels", "more_views_boxes"),
    "more_views_pretrained": ("more_views_pretrained_labels",),
    "main": ("boxes", "labels_seen", "labels"),
    "no_presence": ("boxes", "labels_seen", "labels"),
    "data_sentences": ("boxes", "labels_data_sentences"),
    "pretrained": ("boxes", "labels_pretrained"),
    "no_text_filter": ("ablation_base_boxes", "labels_no_text_filter"),
    "minilm": ("ablation_base_boxes", "labels_minilm"),
}

# Variants that are a shipped model with another text encoder, which their stages train, and the config of that model.
SWAPPED_ENCODERS = {"more_views_pretrained": "demo"}


def stages_of(variant: str) -> tuple[str, ...]:
    """The training stages that precede the last one of a variant, in order."""
    return OWN_STAGES.get(variant, SHARED_STAGES)
