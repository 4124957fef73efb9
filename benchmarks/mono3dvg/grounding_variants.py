"""Variants of the toy benchmark of grounding, which its runs and its tables go by."""

BENCH = "mono3dvg_toy"
# Name of the record's folder: what the tables call it. The config is toy_grounding/<name>.yaml.
VARIANTS = {
    "main": "main model",
    "pretrained": "main model, pretrained sentence encoder",
    "plain": "plain main model",
    "joint_long": "joint reading, schedule of the main model",
    "joint": "joint reading",
    "frozen": "frozen reading, that of the main model",
    "learned": "learned reading",
    "cross_attention": "cross-attention",
    "mamba_fusion": "fusion of Mamba-YOLO-World",
    "nofilter": "no TextFilter, joint reading",
    "stages1": "1 stage",
    "stages2": "2 stages",
    "query": "queries",
    "norelation": "no comparison of candidates",
    "minilm": "pretrained sentence encoder, frozen",
    "blind": "ignores the sentence",
    "sightless": "ignores the image",
}
