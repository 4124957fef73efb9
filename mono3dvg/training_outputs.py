"""What the losses of a batch are computed from, by training stage."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mono3dvg.criterion import GroundingTargets
from mono3dvg.detection.candidates import Candidates
from mono3dvg.detection.dense_head import gather_cells
from mono3dvg.grounding_features import FusedFeatures, GroundingOutputs, ImageBatch, ScoredCandidates
from mono3dvg.relation.candidate_sets import CandidateSets, repeat_sentences
from mono3dvg.relation.relation_features import RelationFeatures, compute_relation_features


def training_outputs(model: Any, batched_inputs: list[dict], targets: GroundingTargets) -> GroundingOutputs:
    """What the criterion needs in this training stage; the relation layer works on labelled objects too.

    Args:
        model: a `Mono3DVG`, whose stages are run.
    """
    sentences = targets.sentences
    if sentences is None:
        image = model.encode_maps(batched_inputs)
        # The coarser maps are for sentences.
        return GroundingOutputs(image, unused=sum((m.sum() for m in image.maps[1:]), image.maps[0].new_zeros(())))
    if not model.stage.image_maps:
        return _outputs_of_labels(model, batched_inputs, targets)
    image = model.encode_maps(batched_inputs)
    if model.relation is not None or model.query_head is not None:
        image.peaks = model.detected_peaks(image)
    fused = model.fuse(image, model.encode_text(sentences.texts, sentences.places), sentences.image_of)
    outputs = GroundingOutputs(image, fused.refer)
    # Not every head uses all that the neck returns.
    outputs.unused = fused.sentence.sum() + fused.text.features.sum()
    if model.query_head is not None:
        outputs.queries = model.run_queries(image, fused)
    if model.relation is not None:
        given = model.labelled_candidates(targets.objects, image.batch, image.raw, model.training_options.jitter)
        outputs.scored = _scored(model, image.batch, fused, {"labelled": given, "peaks": image.peaks})
    return outputs


def _scored(
    model: Any, batch: ImageBatch, fused: FusedFeatures, candidates: Mapping[str, Candidates]
) -> ScoredCandidates:
    """What the relation layer makes of sets of candidates of B images, in one pass."""
    sets = CandidateSets.of(list(candidates.values()))
    rows = sets.rows_of(fused.image_of)
    cells = sets.candidates.cells[rows]
    sentence = torch.arange(len(fused.map), device=cells.device).repeat(sets.number)
    mapped = gather_cells(fused.map, sentence[:, None].expand(cells.shape).flatten(), cells.flatten())
    features, text = _features(model, batch, sets), repeat_sentences(fused.text, sets.number)
    scores = model.relation(features, rows, mapped.unflatten(0, cells.shape), text)
    return ScoredCandidates(tuple(candidates), sets.candidates, scores, rows)


def _features(model: Any, batch: ImageBatch, sets: CandidateSets) -> RelationFeatures:
    return compute_relation_features(
        sets.candidates, batch.scene[sets.image_of], batch.sizes_hw[sets.image_of], model.inputs.ry_frame,
        batch.colors, sets.image_of,
    )  # fmt: skip


def _outputs_of_labels(model: Any, batched_inputs: list[dict], targets: GroundingTargets) -> GroundingOutputs:
    """Without maps: fused features of the candidates are zero."""
    assert targets.sentences is not None and model.relation is not None
    batch, sentences = model.preprocess(batched_inputs), targets.sentences
    given = model.labelled_candidates(targets.objects, batch, jitter=model.training_options.jitter)
    features = model.relation_features(given, batch)
    text = model.encode_text(sentences.texts, sentences.places)
    no_map: Tensor = text.features.new_zeros(len(text), given.cells.shape[1], text.features.shape[-1])
    scores = model.relation(features, sentences.image_of, no_map, text)
    return GroundingOutputs(scored=ScoredCandidates(("labelled",), given, scores, sentences.image_of))
