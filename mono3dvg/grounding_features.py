"""Features and outputs that the stages of the grounder hand on.

Letters: B images, N sentences of all of them, K candidates.
"""

from dataclasses import dataclass

from torch import Tensor

from d2road.structures.camera_batch import SceneGeometry
from mono3dvg.detection.candidates import Candidates
from mono3dvg.detection.dense_head import RawMaps
from mono3dvg.detection.query_head import DecodeContext, RawQueries
from mono3dvg.relation.relation_features import RelationFeatures
from mono3dvg.relation.relation_layer import RelationOutput
from mono3dvg.text.text_features import TextFeatures


@dataclass
class ImageBatch:
    """B images as the network takes them: pixels (B, 3, H, W) normalised and padded, colors (B, 3, H, W) from 0 to 1,
    heights and widths without padding, as numbers and (B, 2), camera and ground of each."""

    pixels: Tensor
    colors: Tensor
    sizes: list[tuple[int, int]]
    sizes_hw: Tensor
    scene: SceneGeometry


@dataclass
class ImageFeatures:
    """Everything of B images that does not depend on sentences: maps of the backbone, fine to coarse, raw detections
    as maps, covered (B, Hf, Wf) cells in the image; where they are wanted, peaks of the detections as candidates and
    their relation features."""

    batch: ImageBatch
    maps: list[Tensor]
    raw: RawMaps
    covered: Tensor
    peaks: Candidates | None = None
    relation: RelationFeatures | None = None


@dataclass
class FusedFeatures:
    """N sentences fused with their images: map (N, D, Hf, Wf), text with the fused words, sentence (N, D), referral
    logits (N, Hf, Wf) (None with queries), image_of (N,)."""

    map: Tensor
    text: TextFeatures
    sentence: Tensor
    refer: Tensor | None
    image_of: Tensor


@dataclass
class Detections:
    """Candidates of N sentences. relation: features of the candidates of their B images, where a relation layer
    compares them. referral (N, K): logits of being meant, where queries say so themselves."""

    candidates: Candidates
    relation: RelationFeatures | None = None
    referral: Tensor | None = None


@dataclass
class ScoredCandidates:
    """Z sets of candidates of B images, by name, one after the other (Z * B, K), and what the relation layer makes of
    them for N sentences, (Z * N) scores. rows (Z * N,): the row of candidates of each."""

    sets: tuple[str, ...]
    candidates: Candidates
    scores: RelationOutput
    rows: Tensor


@dataclass
class GroundingOutputs:
    """What the losses of a batch are computed from; None where training stage or variant have no such output.

    image: raw detections. refer (N, Hf, Wf): referral logits. scored: the sets "labelled", objects, and "peaks".
    queries: outputs of the decoder stages and what decoding them needs. unused (): sum of outputs that no loss looks
    at.
    """

    image: ImageFeatures | None = None
    refer: Tensor | None = None
    scored: ScoredCandidates | None = None
    queries: tuple[list[RawQueries], DecodeContext] | None = None
    unused: Tensor | None = None
