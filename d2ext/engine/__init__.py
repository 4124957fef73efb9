"""Training, evaluating and predicting, in one process or many."""

from d2ext.engine.defaults import evaluate, load_weights, setup
from d2ext.engine.launch import launch
from d2ext.engine.predictor import Predictor
from d2ext.engine.trainer import Trainer
from d2ext.utils.rng import preserve_rng, seeded_rng

__all__ = ["Predictor", "Trainer", "evaluate", "launch", "load_weights", "preserve_rng", "seeded_rng", "setup"]
