"""Sentences of the training data, which a tokenizer is learned from."""

import logging

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from mono3dvg.language import realize, to_form

logger = logging.getLogger(__name__)


def training_sentences(cfg: CfgNode) -> list[str]:
    """Sentences of DATASETS.TRAIN, also in further words where training uses them; none if the data is missing."""
    try:
        records = [record for name in cfg.DATASETS.TRAIN for record in DatasetCatalog.get(name)]
    except (FileNotFoundError, KeyError) as error:
        logger.info("No training sentences to learn a tokenizer from (%s): the checkpoint's is taken", error)
        return []
    expressions = [e for record in records for e in record.get("expressions", ())]
    texts = [e["text"] for e in expressions]
    if cfg.INPUT.GROUNDING.VARIED_WORDING_RATE > 0:
        rng, forms = np.random.default_rng(0), [e for e in expressions if e.get("form")]
        texts += [realize(to_form(e["form"]), e["language"], e["choices"][0], rng, "varied").text for e in forms]
    return texts
