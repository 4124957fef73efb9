"""Training stages: pretraining of detection, pretraining of language, and the joint training of all parts.

The joint training had better start from what the other two leave, which cost less a step:

    boxes    detection pretraining: 3D boxes from images without sentences, at less than half of the cost
    labels   language pretraining: text encoder and relation layer, from sentences about labelled objects whose place,
             size and class are given; of images only the colours in the boxes are used, at about a fifth of the cost
    ""       joint training ("all" in the registry)

and two for another text encoder in a trained grounder, of which all else stays as it is:

    text_labels  text encoder alone, from sentences about labelled objects, as "labels"
    text         text encoder alone, from images and sentences
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from d2road.utils.registry import Registry

TRAINING_STAGES = Registry("training stage")
JOINT = "all"


@dataclass(frozen=True)
class TrainingStage:
    """What a stage learns and from what.

    trained: submodules of the grounder that learn, all else stays as it is; () is all of them.
    image_maps: whether the backbone's maps are computed. sentences: whether images come with sentences.
    saves_trained_only: leave out of checkpoints what does not learn, so that models of any text encoder and fusion can
        start from them.
    """

    trained: tuple[str, ...] = ()
    image_maps: bool = True
    sentences: bool = True
    saves_trained_only: bool = False


TRAINING_STAGES.register(TrainingStage(), name=JOINT)
TRAINING_STAGES.register(TrainingStage(trained=("text_encoder", "relation"), image_maps=False), name="labels")
TRAINING_STAGES.register(TrainingStage(trained=("text_encoder",), image_maps=False), name="text_labels")
TRAINING_STAGES.register(TrainingStage(trained=("text_encoder",)), name="text")
TRAINING_STAGES.register(
    TrainingStage(trained=("backbone", "dense_head"), sentences=False, saves_trained_only=True), name="boxes"
)


def training_stage(name: str) -> TrainingStage:
    """The stage of MODEL.MONO3DVG.TRAINING_STAGE; "" is the joint training.

    Raises:
        ConfigError: there is none of this name; lists the known ones.
    """
    return TRAINING_STAGES.get(name or JOINT)


def keep_submodules(names: Sequence[str]) -> Callable[..., None]:
    """A hook for `register_state_dict_post_hook` that leaves out all but these submodules."""

    def hook(module: nn.Module, state_dict: dict, prefix: str, metadata: dict) -> None:
        for name in [n for n in state_dict if n.startswith(prefix) and n[len(prefix) :].partition(".")[0] not in names]:
            del state_dict[name]

    return hook
