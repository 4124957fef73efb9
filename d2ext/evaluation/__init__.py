"""Evaluators by the evaluator_type of a data set, and results as a file."""

from d2ext.evaluation.registry import EVALUATOR_REGISTRY, build_evaluator
from d2ext.evaluation.results import write_results

__all__ = ["EVALUATOR_REGISTRY", "build_evaluator", "write_results"]
