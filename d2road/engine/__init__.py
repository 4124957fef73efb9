"""Training, evaluating and predicting with any model of Detectron2's contract, in one process or many.

    Trainer         training that resumes exactly: averages, accumulation, mixed precision, evaluation, best weights
    Predictor       a config and weights, ready for images of any size
    setup, launch   logs and seeds; one process, several, or torchrun
    evaluate        the weights of a config on its test sets
    check_start     files that a run starts from, missed before anything is built
    load_weights    averaged weights where there are any, checked against the model

What a model may offer beyond that contract is in `d2road.engine.meta_arch`; how its results are drawn in
`d2road.engine.annotators`. A training as a program:

    cfg = setup_cfg(default_argument_parser().parse_args(["--config-file", "diffusion_det/toy_roadside/demo.yaml"]))
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    results = trainer.train()  # {"bbox": {"AP": ...}}
"""

from d2road.engine.defaults import check_start, evaluate, load_weights, setup
from d2road.engine.launch import launch
from d2road.engine.predictor import Predictor
from d2road.engine.trainer import Trainer
from d2road.utils.rng import preserve_rng, seeded_rng

__all__ = [
    "Predictor",
    "Trainer",
    "check_start",
    "evaluate",
    "launch",
    "load_weights",
    "preserve_rng",
    "seeded_rng",
    "setup",
]
