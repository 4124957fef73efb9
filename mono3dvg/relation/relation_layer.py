"""Which of the candidates a sentence means, by comparing them: order, number, nearness, what lies between what.

Each block lets every candidate read the words and find how well it fits all of them, then look at the other candidates
in two ways: a mean over some of them (attention: "the bus" of "behind the bus"), and a number of some of them (a sum of
gates: how many white cars are farther left; how many there are at all). What decides whom to look at is the candidate's
state, which the words have shaped, against the other's state and against how the two lie to each other.

Letters: B images, N sentences, K candidates, T words, D width, S blocks, P parts of a sentence, R
traits.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mono3dvg.language.form_parts import PARTS
from mono3dvg.relation.attribute_modules import PartReader
from mono3dvg.relation.relation_blocks import RelationBlock
from mono3dvg.relation.relation_features import NUM_OWN_FACTS, NUM_PAIR_FACTS, Facts
from mono3dvg.text.token_features import Words


@dataclass
class Thoughts:
    """What is made of N sentences and their K candidates, logits.

    answers: (S, N, K) of being meant, by each block; the last one's counts, but in training every block is asked: all
    of them learn faster than the last alone. parts: (N, K, P) of what the parts of a sentence say, see
    `language.parts`. mentioned: (N, P - 2) of whether it has them.
    """

    answers: Tensor
    parts: Tensor
    mentioned: Tensor


class RelationLayer(nn.Module):
    """Scores candidates by sentence; the order of the candidates plays no part.

    Args:
        in_dim: of the fused features and the words.
        num_traits: R, of `Candidates.traits`.
        dim: width D.
        layers, heads: blocks, heads of each kind.
        pair_dim: width of the pair facts.
        look_dim: width of what the parts of a sentence see of the image.
        numbers: see `PartReader`.
    """

    def __init__(
        self,
        *,
        in_dim: int,
        num_traits: int,
        dim: int = 96,
        layers: int = 4,
        heads: int = 4,
        pair_dim: int = 32,
        look_dim: int = 32,
        numbers: bool = True,
        dropout: float = 0.0,
    ):
        super().__init__()
        num_facts = NUM_OWN_FACTS + num_traits
        self.words = nn.Sequential(nn.Linear(in_dim, dim), nn.LayerNorm(dim))
        self.feature = nn.Sequential(nn.LayerNorm(in_dim), nn.Linear(in_dim, dim))
        self.look = nn.Linear(in_dim, look_dim)
        self.own = nn.Sequential(nn.Linear(num_facts, dim), nn.ReLU(), nn.Linear(dim, dim))
        self.pair = nn.Sequential(nn.Linear(NUM_PAIR_FACTS, 2 * pair_dim), nn.ReLU(), nn.Linear(2 * pair_dim, pair_dim))
        self.enter = nn.LayerNorm(dim)
        self.reader = PartReader(dim, num_facts + look_dim, NUM_PAIR_FACTS, numbers)
        self.said = nn.Linear(2 * len(PARTS), dim)
        self.blocks = nn.ModuleList(RelationBlock(dim, heads, pair_dim, dropout) for _ in range(layers))
        self.leave = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, 1)
        self.trust = nn.Parameter(torch.ones(()))  # in the reading of the parts

    def forward(self, facts: Facts, image_of: Tensor, traits: Tensor, features: Tensor, words: Words) -> Thoughts:
        """Compare the candidates of N sentences.

        Args:
            facts: of the candidates of B images, as `describe` gives them.
            image_of: (N,) image of each sentence.
            traits: (B, K, R).
            features: (N, K, in_dim) fused map at the cells of the candidates.
            words: of the sentences, in_dim wide.
        Returns:
            logits; those of padding mean nothing.
        """
        bare = torch.cat([facts.own, traits], dim=-1)
        pair, facts = self.pair(facts.pair)[image_of], facts[image_of]
        mask = words.mask | ~words.mask.any(1, keepdim=True)  # a sentence without words reads its padding
        said = self.words(words.features)
        state = self.enter(self.own(bare)[image_of] + self.feature(features))
        bare = torch.cat([bare[image_of], self.look(features)], dim=-1)
        parts, mentioned = self.reader(bare, state, facts, said, mask, words.numbers)
        state = state + self.said(torch.cat([torch.sigmoid(parts), parts.clamp(-6, 6) / 6], dim=-1))
        answers = []
        for block in self.blocks:
            state = block(state, pair, facts.valid, said, mask)
            answers.append(self.output(self.leave(state))[..., 0] + self.trust * parts[..., -1])
        return Thoughts(torch.stack(answers), parts, mentioned)
