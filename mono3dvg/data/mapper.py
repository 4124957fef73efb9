"""Dataset mapper of grounding: read, augment, resize, attach camera, objects and sentences."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.structures import Boxes, BoxMode, Instances
from fvcore.transforms.transform import HFlipTransform, Transform, TransformList

from d2road.data.camera_files import read_camera
from d2road.data.input_checks import read_image_checked
from d2road.data.labels3d import boxes3d_of
from d2road.data.mapper_registry import MAPPER_REGISTRY
from d2road.data.transforms import transform_camera
from d2road.utils.errors import DataError
from mono3dvg.language import (
    LabelledScene,
    Recipe,
    attributes_of,
    draw_sentences,
    part_truths,
    realize_mirrored,
    to_form,
    with_unknown_words,
)
from mono3dvg.training_stages import training_stage


@MAPPER_REGISTRY.register()
class Mono3DVGMapper:
    """Mapper of images with their sentences.

    In a training stage without sentences a training image has none; all else is the same.

    A flip realizes the sentences anew, with left and right exchanged. Colours that sentences name stay what they are:
    brightness and contrast vary, hue does not. Random draws come from numpy's global state, which the loader seeds for
    each sample.

    Args:
        cfg: INPUT.* of Detectron2 (RANDOM_FLIP, MIN_SIZE_TRAIN, ...) and INPUT.GROUNDING.
        is_train: draw sentences and augment; else only resize.
    """

    def __init__(self, cfg: CfgNode, is_train: bool = True):
        node = cfg.INPUT.GROUNDING
        self.is_train, self.format, self.num_sentences = is_train, cfg.INPUT.FORMAT, node.SENTENCES_PER_IMAGE
        self.with_sentences = not is_train or training_stage(cfg.MODEL.MONO3DVG.TRAINING_STAGE).sentences
        self.generate, self.varied = is_train and node.GENERATE_SENTENCES, node.VARIED_WORDING_RATE
        self.unknown_words = node.UNKNOWN_WORD_RATE if is_train else 0.0
        self.flip = is_train and cfg.INPUT.RANDOM_FLIP == "horizontal" and node.FLIP == "form"
        part = "TRAIN" if is_train else "TEST"
        style = cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING if is_train else "choice"
        self.changes: list[T.Augmentation] = [
            T.ResizeShortestEdge(cfg.INPUT[f"MIN_SIZE_{part}"], cfg.INPUT[f"MAX_SIZE_{part}"], style)
        ]
        if is_train and node.LIGHT_JITTER > 0:
            low, high = 1 - node.LIGHT_JITTER, 1 + node.LIGHT_JITTER
            self.changes += [T.RandomBrightness(low, high), T.RandomContrast(low, high)]

    def __call__(self, dataset_dict: dict) -> dict:
        """Read and transform one image.

        Returns:
            the dict with `image` (3, H, W) uint8 in the configured channel order, `camera`, a Camera in pixels of
            `image`, and `expressions`, each with id and text. Where the data set has annotations also `instances` with
            gt_boxes, gt_classes, gt_boxes3d (M, 7) rows x, y, z, h, w, l, ry as the data set defines them, gt_has_3d
            (M,) and gt_ignore (M,), and in each expression `targets`, positions in it. For training also gt_attributes
            (M, L) int8, truth of `language.ATTRIBUTES`, and, in expressions that have a logical form, `parts` (P, M)
            int8: what its parts say of them (see `language.part_truths`).
        Raises:
            FileNotFoundError, DataError: image missing, broken or of another size than its annotation says; no
                intrinsics; a target that is to be ignored.
        """
        dataset_dict = dict(dataset_dict)  # what it holds is read, not changed
        image = read_image_checked(dataset_dict, self.format)
        camera = read_camera(dataset_dict)
        sentences, scene = dataset_dict.pop("expressions", []), dataset_dict.pop("scene", None)
        class_names = dataset_dict.pop("class_names", ())
        flip: list[Transform] = []
        annotations = dataset_dict.pop("annotations", None)
        if annotations is None and self.is_train:
            raise DataError(f"{dataset_dict['file_name']}: its data set has no annotations: it cannot be trained on")
        if self.is_train:
            new = self.generate and self.with_sentences and scene is not None
            sentences = self._generate(sentences, scene, class_names, annotations) if new else self._draw(sentences)
            # Drawn always, so that what follows does not hang on the sentences.
            if np.random.rand() < 0.5 and self.flip and all(s.get("form") for s in sentences):
                flip = [HFlipTransform(image.shape[1])]
                image = flip[0].apply_image(image)
        image, transforms = T.apply_transform_gens(self.changes, image)
        transforms = TransformList(flip + transforms.transforms)
        dataset_dict["image"] = torch.from_numpy(np.array(image.transpose(2, 0, 1), order="C"))
        dataset_dict["camera"], mirrored = transform_camera(camera, transforms)
        texts = [realize_mirrored(s["form"], s["language"], s["choices"]) if mirrored else s["text"] for s in sentences]
        if self.unknown_words:
            texts = [with_unknown_words(text, self.unknown_words, np.random) for text in texts]
        dataset_dict["expressions"] = [{"id": s["id"], "text": text} for s, text in zip(sentences, texts)]
        if annotations is not None:
            dataset_dict["instances"] = to_instances(annotations, transforms, image.shape[:2], mirrored)
            order = places_in_scene(annotations, scene) if self.is_train and scene is not None else None
            if order is not None:
                dataset_dict["instances"].gt_attributes = torch.from_numpy(attributes_of(scene)[order])
            for entry, sentence in zip(dataset_dict["expressions"], sentences):
                entry["targets"] = _targets(sentence, annotations, dataset_dict["file_name"])
                if order is not None and sentence.get("form"):
                    # The same in the mirror, where form and scene change together.
                    entry["parts"] = torch.from_numpy(part_truths(to_form(sentence["form"]), scene)[:, order])
        return dataset_dict

    def check_training_data(self, names: str, dicts: Sequence[dict]) -> None:
        """Raise DataError for data without any sentence, in a training stage that learns from sentences."""
        if self.with_sentences and not any(record.get("expressions") for record in dicts):
            raise DataError(
                f"none of the {len(dicts)} images of {names} has a sentence (expressions) to train on. Is it the right "
                "file? Without sentences only MODEL.MONO3DVG.TRAINING_STAGE 'boxes' learns"
            )

    def _draw(self, sentences: Sequence[dict]) -> list[dict]:
        """SENTENCES_PER_IMAGE of them at random, all if it is 0, none in a training stage without sentences."""
        if not self.with_sentences:
            return []
        if not 0 < self.num_sentences < len(sentences):
            return list(sentences)
        return [sentences[i] for i in np.random.permutation(len(sentences))[: self.num_sentences]]

    def _generate(
        self, sentences: Sequence[dict], scene: LabelledScene, class_names: Sequence[str], annotations: Sequence[dict]
    ) -> list[dict]:
        """New sentences about a scene in the languages of those that it has; as many as `_draw` returns."""
        languages = tuple(sorted({s["language"] for s in sentences if s.get("form")}))
        number = self.num_sentences or len(sentences)
        rng = np.random.default_rng(np.random.randint(2**31))
        places = {a["id"]: place for place, a in enumerate(annotations)}
        recipe = Recipe(per_image=number, languages=languages, varied=self.varied)
        drawn = draw_sentences(scene, rng, class_names, recipe)
        return [
            {**s, "id": n, "targets": [places[key] for key in s["target_ids"]]}
            for n, s in enumerate(drawn)
            if all(key in places for key in s["target_ids"])
        ]


def to_instances(
    annotations: Sequence[dict], transforms: Transform, size_hw: tuple[int, int], mirrored: bool
) -> Instances:
    """Objects in pixels of the transformed image."""
    boxes = np.array(
        [BoxMode.convert(list(a["bbox"]), BoxMode(a["bbox_mode"]), BoxMode.XYXY_ABS) for a in annotations]
    ).reshape(-1, 4)
    instances = Instances(size_hw)
    instances.gt_boxes = Boxes(torch.as_tensor(transforms.apply_box(boxes), dtype=torch.float32).reshape(-1, 4))
    instances.gt_boxes.clip(size_hw)
    instances.gt_classes = torch.tensor([a["category_id"] for a in annotations], dtype=torch.int64)
    instances.gt_boxes3d, instances.gt_has_3d = boxes3d_of(annotations, mirrored)
    instances.gt_ignore = torch.tensor([bool(a.get("iscrowd", 0)) for a in annotations], dtype=torch.bool)
    return instances


def _targets(sentence: dict[str, Any], annotations: Sequence[dict], file_name: str) -> list[int]:
    for place in sentence["targets"]:
        if not 0 <= place < len(annotations) or annotations[place].get("iscrowd", 0):
            raise DataError(
                f"{file_name}: expression {sentence['id']!r} has target {place}, expected positions in the "
                f"{len(annotations)} annotations of the image, of objects that are not to be ignored"
            )
    return list(sentence["targets"])


def places_in_scene(annotations: Sequence[dict], scene: LabelledScene) -> list[int]:
    """Where the annotations are among the objects of the scene."""
    places = {key: place for place, key in enumerate(scene.ids)}
    return [places[a["id"]] for a in annotations]
