"""Predictions numbered as a data set counts its classes, on their way from a model to an evaluator."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances

from d2road.data.class_names import KEY, class_numbers, is_same_order, known_class_names


def with_classes_of_data(
    evaluator: DatasetEvaluator, dataset_name: str, model_classes: Sequence[str]
) -> DatasetEvaluator:
    """An evaluator that takes predictions with the class indices of a model.

    The evaluator itself where the model counts as the data set does, or the names of either are not known.

    Args:
        evaluator: takes the class indices of the data set.
        model_classes: class names of the model by index.
    Raises:
        DataError: the data set has a class that the model does not know.
    """
    classes = known_class_names(dataset_name) if len(model_classes) else None
    if not classes:
        return evaluator
    numbers = class_numbers(classes, model_classes, f"data set '{dataset_name}'", f"the model ({KEY})")
    if is_same_order(numbers) and len(classes) == len(model_classes):
        return evaluator
    return RenumberedEvaluator(evaluator, {model: data for data, model in numbers.items()}, len(model_classes))


class RenumberedEvaluator(DatasetEvaluator):
    """Passes predictions on with the class indices of the data set; those of classes that it lacks are left out.

    Args:
        evaluator: that scores them.
        numbers: class index of the model -> class index of the data set.
        num_classes: of the model.
    """

    def __init__(self, evaluator: DatasetEvaluator, numbers: Mapping[int, int], num_classes: int):
        self.evaluator = evaluator
        self.index = torch.full((num_classes,), -1, dtype=torch.int64)
        for model, data in numbers.items():
            self.index[model] = data

    def reset(self) -> None:
        self.evaluator.reset()

    def process(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        self.evaluator.process(inputs, [self._renumber(output) for output in outputs])

    def evaluate(self) -> dict | None:
        return self.evaluator.evaluate()

    def _renumber(self, output: Any) -> Any:
        found = output.get("instances") if isinstance(output, Mapping) else None
        if not isinstance(found, Instances) or not found.has("pred_classes"):
            return output
        classes = self.index.to(found.pred_classes.device)[found.pred_classes]
        known = found[classes >= 0]  # a copy: the model's own output stays as it is
        known.pred_classes = classes[classes >= 0]
        return {**output, "instances": known}
