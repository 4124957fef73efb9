"""Configuration of a frozen feature extractor in the place of EfficientAD's teacher."""

from detectron2.config import CfgNode as CN

FEATURES = "features:"  # before the name of an extractor in TEACHER

# Of TEACHER features:NAME. The extractor sees images of INPUT.IMAGE_SIZE, student and autoencoder half of that.
EXTRACTOR = {
    # File of its weights, read when a training begins; "" for those of an installed package. Checkpoints hold them.
    "FEATURE_WEIGHTS": "",
    # Its maps by stride in pixels, the finest first.
    "LAYERS": ("s8", "s16"),
    # Cells a side that are averaged around each cell of a map; odd, 1 is none.
    "NEIGHBOURHOOD": 3,
    # Megabytes of features that a training on a CPU keeps, so that images that come again are described once; a
    # jittered one (INPUT.AUTOENCODER_JITTER) never comes again. 0 keeps none.
    "CACHE_MB": 1000,
    # squared | mahalanobis: the student's map is of mean squares of its errors, or weighs each direction of the
    # features by the errors on good training images, see modeling/error_whitening.py.
    "DISTANCE": "squared",
}
DISTANCES = ("squared", "mahalanobis")


def features_of(node: CN) -> str:
    """The name of the extractor whose features are the teacher; "" where it is a PDN."""
    return node.TEACHER.removeprefix(FEATURES) if node.TEACHER.startswith(FEATURES) else ""


def extractor_keys_problems(node: CN) -> list[str]:
    """Contradictions in the keys of a frozen extractor in MODEL.EFFICIENT_AD, each with its cure."""
    from efficientad.modeling.feature_extractors import extractor_problems

    if not features_of(node):
        return []
    own, name = node.EXTRACTOR, "MODEL.EFFICIENT_AD."
    problems = [f"{name}TEACHER is {node.TEACHER!r}: {p}" for p in extractor_problems(features_of(node), own.LAYERS)]
    if own.NEIGHBOURHOOD < 1 or own.NEIGHBOURHOOD % 2 == 0:
        problems.append(f"{name}EXTRACTOR.NEIGHBOURHOOD is {own.NEIGHBOURHOOD}: an odd number of cells, such as 3")
    if own.DISTANCE not in DISTANCES:
        problems.append(f"{name}EXTRACTOR.DISTANCE is {own.DISTANCE!r}: choose one of {', '.join(DISTANCES)}")
    if own.CACHE_MB < 0:
        problems.append(f"{name}EXTRACTOR.CACHE_MB is {own.CACHE_MB}: megabytes, or 0 to keep no features")
    return problems
