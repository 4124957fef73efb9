"""What the losses of a batch are computed from, by training stage."""

from typing import Any

from mono3dvg.criterion import GroundingTargets
from mono3dvg.grounding_features import GroundingOutputs, ScoredCandidates


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
    needs_peaks = model.relation is not None or model.query_head is not None
    image = model.encode_image(batched_inputs) if needs_peaks else model.encode_maps(batched_inputs)
    fused = model.fuse(image, model.encode_text(sentences.texts, sentences.places), sentences.image_of)
    outputs = GroundingOutputs(image, fused.refer)
    # Not every head uses all that the neck returns.
    outputs.unused = fused.sentence.sum() + fused.text.features.sum()
    if model.query_head is not None:
        outputs.queries = model.run_queries(image, fused)
    if model.relation is not None:
        given = model.labelled_candidates(targets.objects, image.batch, image.raw, model.training_options.jitter)
        features = model.relation_features(given, image.batch)
        outputs.labelled = ScoredCandidates(given, model.relate(fused, given.cells[fused.image_of], features))
        assert image.peaks is not None and image.relation is not None
        scores = model.relate(fused, image.peaks.cells[fused.image_of], image.relation)
        outputs.peaks = ScoredCandidates(image.peaks, scores)
    return outputs


def _outputs_of_labels(model: Any, batched_inputs: list[dict], targets: GroundingTargets) -> GroundingOutputs:
    """Without maps: fused features of the candidates are zero."""
    assert targets.sentences is not None and model.relation is not None
    batch, sentences = model.preprocess(batched_inputs), targets.sentences
    given = model.labelled_candidates(targets.objects, batch, jitter=model.training_options.jitter)
    features = model.relation_features(given, batch)
    text = model.encode_text(sentences.texts, sentences.places)
    no_map = text.features.new_zeros(len(text), given.cells.shape[1], text.features.shape[-1])
    scores = model.relation(features, sentences.image_of, no_map, text)
    return GroundingOutputs(labelled=ScoredCandidates(given, scores))
