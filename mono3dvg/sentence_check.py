"""Training data of grounding that has nothing to teach is refused before the first step."""

from detectron2.config import CfgNode
from detectron2.engine import HookBase

from d2road.engine.meta_arch import register_training_hooks
from d2road.utils.errors import DataError
from mono3dvg.training_stages import training_stage


class RequireSentences(HookBase):
    """Stops a training whose stage learns from sentences, on data without any."""

    def __init__(self, cfg: CfgNode):
        self.names = ", ".join(cfg.DATASETS.TRAIN)

    def before_train(self) -> None:
        dicts = self.trainer.data_loader.dataset.dicts
        if not any(dicts[i].get("expressions") for i in range(len(dicts))):
            raise DataError(
                f"none of the {len(dicts)} images of {self.names} has a sentence (expressions) to train on. Is it the "
                "right file? Without sentences only MODEL.MONO3DVG.TRAINING_STAGE 'boxes' learns"
            )


@register_training_hooks("Mono3DVG")
def training_hooks(cfg: CfgNode) -> list[HookBase]:
    """What a training of grounding does around its steps."""
    return [RequireSentences(cfg)] if training_stage(cfg.MODEL.MONO3DVG.TRAINING_STAGE).sentences else []
