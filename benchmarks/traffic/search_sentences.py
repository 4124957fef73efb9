"""Questions in sentences that somebody wrote who saw their bare facts alone: neither the parser nor other wordings.

search_sentences.json has them in the order of the questions that `draw_questions` gives for its clips and its seed.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.traffic.search_questions import Question, draw_questions
from benchmarks.traffic.search_truth import ClipTruth
from d2road.utils.errors import DataError
from d2road.utils.input_files import read_json

SENTENCES = Path(__file__).parent / "search_sentences.json"


def sentence_questions(truths: Sequence[ClipTruth]) -> list[Question]:
    """The questions of the file.

    Raises:
        DataError: the clips are others than those that the sentences were written for.
    """
    kept = read_json(SENTENCES, "sentences")
    names = [truth.clip.name for truth in truths]
    if names != kept["clips"]:
        raise DataError(f"{SENTENCES.name} is of {', '.join(kept['clips'])}; got {', '.join(names)}: give these clips")
    drawn = draw_questions(truths, len(kept["sentences"]), kept["without_answer"], "seen", kept["seed"])
    return [replace(question, sentence=sentence) for question, sentence in zip(drawn, kept["sentences"])]
