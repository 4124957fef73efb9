"""Weights of the teacher that a config names: a PDN from a file, or a frozen extractor's own."""

from detectron2.config import CfgNode

from efficientad.checkpoint.teacher_files import checksum, load_teacher
from efficientad.modeling.extractor_teacher import ExtractorTeacher
from efficientad.modeling.pdn import PDN
from efficientad.network_builder import extractor_of


def fill_teacher(teacher: PDN | ExtractorTeacher, node: CfgNode) -> str:
    """Give a teacher the weights that MODEL.EFFICIENT_AD names, in place.

    Returns:
        What to call it in results, with a checksum of its weights.
    Raises:
        FileNotFoundError, CheckpointError, ConfigError: see `load_teacher` and `build_extractor`.
    """
    if isinstance(teacher, PDN):
        return load_teacher(teacher, node.TEACHER)
    pretrained = extractor_of(node, node.EXTRACTOR.FEATURE_WEIGHTS)
    teacher.extractor.load_state_dict(pretrained.state_dict())
    return f"features of {pretrained.label} ({checksum(pretrained.state_dict())})"
