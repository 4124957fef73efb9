"""Training, evaluating and predicting, in one process or many."""

from d2road.engine.defaults import evaluate, load_weights, setup
from d2road.engine.launch import launch
from d2road.engine.predictor import Predictor
from d2road.engine.trainer import Trainer
from d2road.utils.rng import preserve_rng, seeded_rng

__all__ = ["Predictor", "Trainer", "evaluate", "launch", "load_weights", "preserve_rng", "seeded_rng", "setup"]
