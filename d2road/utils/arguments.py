"""Command-line parser whose options and KEY VALUE pairs of a config may stand in any order.

It imports neither torch nor Detectron2, so that `--help` answers at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from d2road.utils.values import integer_option

# First parts of config keys, by which KEY VALUE pairs are told from values of options and names of files.
KEY_ROOTS = {
    "CUDNN_BENCHMARK", "DATALOADER", "DATASETS", "FLOAT32_PRECISION", "GLOBAL", "INFERENCE", "INPUT", "MODEL",
    "MODEL_EMA", "OUTPUT_DIR", "SEED", "SOLVER", "TEST", "TIME_SPACE", "VERSION", "VIS_PERIOD",
}  # fmt: skip


class ArgumentParser(argparse.ArgumentParser):
    """argparse's parser that takes KEY VALUE pairs once `add_config` or `add_pairs` was called.

    After parsing, `opts` holds all of them: [KEY, VALUE, KEY, VALUE, ...]. Options that stand for a key, such as
    --weights for MODEL.WEIGHTS, are appended, so that they win.
    """

    _keys: dict[str, str] | None = None  # option -> the key that it stands for; None: no pairs are taken
    _files: dict[str, str] | None = None  # what is given by position or by an option -> its metavar

    def add_config(self, required: bool = False, output_dir: bool = False) -> None:
        """Add --config-file, --weights, --device and KEY VALUE pairs, and with `output_dir` --output for OUTPUT_DIR."""
        self._keys = {}
        self.add_argument("--config-file", required=required, default="", metavar="FILE", help="YAML file of the model")
        self.add_key("--weights", "MODEL.WEIGHTS", "FILE", "checkpoint (default: the config's MODEL.WEIGHTS)")
        self.add_key("--device", "MODEL.DEVICE", "DEVICE", "cuda, cuda:1, mps or cpu (default: what this machine has)")
        if output_dir:
            self.add_key("--output", "OUTPUT_DIR", "DIR", "folder of the run (default: the config's OUTPUT_DIR)")
        self.add_pairs()

    def add_pairs(self, metavar: str = "KEY VALUE") -> None:
        """Add KEY VALUE pairs alone."""
        self._keys = self._keys or {}
        self.add_argument("opts", nargs="*", metavar=metavar, help="any key of the config and its value")

    def add_key(self, option: str, key: str, metavar: str, text: str) -> None:
        """Add an option that stands for a key of the config; "" leaves the config's value."""
        action = self.add_argument(option, default="", metavar=metavar, help=text)
        self._keys = {**(self._keys or {}), action.dest: key}

    def add_file(self, name: str, metavar: str, text: str) -> None:
        """Add a file that is given by position or by --name; before `add_config`. Without it the value is None."""
        self._files = {**(self._files or {}), name: metavar}
        self.add_argument(name, nargs="?", metavar=metavar, help=text)
        self.add_argument(f"--{name}", dest=f"{name}_option", metavar=metavar, help=argparse.SUPPRESS)

    def parse_args(  # type: ignore[override]  # one signature for argparse's three
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Parse `args`, or the words of the command line."""
        if self._keys is None:
            return super().parse_args(args, namespace)
        words, pairs = split_pairs(sys.argv[1:] if args is None else args)
        parsed = self.parse_intermixed_args(words, namespace)
        parsed.opts = pairs + self._place_files(parsed)
        for name, key in self._keys.items():
            if getattr(parsed, name):
                parsed.opts += [key, getattr(parsed, name)]
        return parsed

    def _place_files(self, parsed: argparse.Namespace) -> list[str]:
        """Give each file its value, from its option or else the next word by position; returns the words left over."""
        names = list(self._files or ())
        words = [word for word in (getattr(parsed, name) for name in names) if word is not None] + parsed.opts
        for name in names:
            value = getattr(parsed, f"{name}_option")
            setattr(parsed, name, value if value is not None or not words else words.pop(0))
            delattr(parsed, f"{name}_option")
        return words


def split_pairs(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide a command line into what is no KEY VALUE pair, and the pairs, flat.

    A word is a key if its first part is one of `KEY_ROOTS`; a key without a dot (SEED, OUTPUT_DIR) not where it may be
    the value of the option before it. A key whose value is missing stays alone.
    """
    rest: list[str] = []
    pairs: list[str] = []
    index = 0
    while index < len(words):
        if not _is_key(words[index], words[index - 1] if index else ""):
            rest.append(words[index])
            index += 1
            continue
        has_value = index + 1 < len(words) and not words[index + 1].startswith("--")
        pairs += words[index : index + 1 + has_value]
        index += 1 + has_value
    return rest, pairs


def _is_key(word: str, before: str) -> bool:
    root, dot, _ = word.partition(".")
    return root in KEY_ROOTS and bool(dot or not before.startswith("--")) and not Path(word).exists()


def verb_parser(verb: str, description: str | None) -> ArgumentParser:
    """The parser of `d2road VERB`; `description` is the docstring of its module, with examples."""
    return ArgumentParser(
        prog=f"d2road {verb}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_verbose(parser: argparse.ArgumentParser) -> None:
    """Add -v, --verbose: all that is logged on the terminal, instead of a few lines and the progress."""
    parser.add_argument("-v", "--verbose", action="store_true", help="print all that log.txt gets")


def default_argument_parser(epilog: str | None = None) -> ArgumentParser:
    """Parser with the options of a training: those of Detectron2's parser of this name, --weights, --device, --output.

    Args:
        epilog: text after the options.
    """
    parser = ArgumentParser(epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_training_options(parser)
    return parser


def add_training_options(parser: ArgumentParser, eval_only: bool = True) -> None:
    """Add what Detectron2's `default_argument_parser` has, --weights, --device and --output.

    Args:
        eval_only: False leaves --eval-only out.
    """
    parser.add_config(output_dir=True)
    add_verbose(parser)
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint of the folder of the run")
    if eval_only:
        parser.add_argument("--eval-only", action="store_true", help="evaluate instead of training")
    parser.add_argument(
        "--num-gpus", type=integer_option(0), default=1, metavar="N", help="processes on this machine (default: 1)"
    )
    parser.add_argument(
        "--num-machines", type=integer_option(1), default=1, metavar="N", help="number of machines (default: 1)"
    )
    parser.add_argument(
        "--machine-rank", type=integer_option(0), default=0, metavar="RANK", help="number of this machine, from 0 on"
    )
    # The port depends on the user alone, so that a process which was left behind is found: its port is in use.
    port = 2**15 + 2**14 + hash(os.getuid() if hasattr(os, "getuid") else 1) % 2**14
    parser.add_argument(
        "--dist-url",
        default=f"tcp://127.0.0.1:{port}",
        metavar="URL",
        help="where several machines or processes meet: tcp://HOST:PORT of the first machine, or auto",
    )
