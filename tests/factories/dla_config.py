"""A narrow DLA-34 for tests."""

from detectron2.config import get_cfg

from d2road.config.defaults import add_common_config

NARROW = (4, 4, 8, 8, 8, 16)


def dla_config(backbone="build_dla34_backbone", **keys):
    """A config with this backbone and these keys of MODEL.DLA."""
    cfg = get_cfg()
    add_common_config(cfg)
    cfg.MODEL.BACKBONE.NAME = backbone
    cfg.MODEL.FPN.IN_FEATURES = []
    cfg.MODEL.FPN.OUT_CHANNELS = 8
    cfg.MODEL.DLA.CHANNELS = list(NARROW)
    for key, value in keys.items():
        cfg.MODEL.DLA[key] = value
    return cfg
