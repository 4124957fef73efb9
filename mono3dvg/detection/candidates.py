"""Candidates: the boxes of an image that sentences can mean."""

from dataclasses import dataclass

from torch import Tensor

from d2road.structures.tensor_record import TensorRecord


@dataclass
class Candidates(TensorRecord):
    """K candidates of each of B images (or, after indexing, of N sentences), padded; C classes, L attributes.

    boxes_xyxy (B, K, 4) pixels of the network input. rows (B, K, 7): x, y, z of the bottom centre, h, w, l, ry as
    the annotations have them. classes (B, K). class_probs (B, K, C). attributes (B, K, L): probabilities of
    `ATTRIBUTES`, L = 0 where nothing says them. heat (B, K): probability of the class. std (B, K): deviation of the log
    depth. cells (B, K): index into Hf * Wf. valid (B, K): False for padding.
    """

    boxes_xyxy: Tensor
    rows: Tensor
    classes: Tensor
    class_probs: Tensor
    attributes: Tensor
    heat: Tensor
    std: Tensor
    cells: Tensor
    valid: Tensor
