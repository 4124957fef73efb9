"""Merging YAML files and KEY VALUE pairs with all mistakes reported at once."""

import ast
import difflib
import io
import numbers
import os
import reprlib
from typing import IO, Any

import yaml
from detectron2.config import CfgNode
from detectron2.utils.file_io import PathManager

from d2road.config.find import find_base, find_config
from d2road.utils.aliases import CONFIG_KEYS, present_key, present_value
from d2road.utils.errors import ConfigError, D2RoadError
from d2road.utils.input_files import read_text
from d2road.utils.values import named

# A single data set may be written without the parentheses of a tuple.
NAME_LISTS = ("DATASETS.TRAIN", "DATASETS.TEST")
# Environment variable: "1" lets YAML files run Python code, as Detectron2 does.
UNSAFE_YAML = "D2ROAD_UNSAFE_YAML"
LARGEST_CONFIG = 1 << 22  # bytes
_shown = reprlib.Repr()  # values in messages: a few lines of YAML can stand for gigabytes of text
_shown.maxstring = _shown.maxother = 200


class ConfigFile(CfgNode):
    """Reader of YAML files whose `_BASE_` is a path relative to them, or a name below `configs/`."""

    @classmethod
    def load_yaml_with_base(cls, filename: str, allow_unsafe: bool = False) -> dict[str, Any]:
        """The content of a file over that of its bases."""
        return super().load_yaml_with_base(find_base(filename), allow_unsafe)

    @classmethod
    def _open_cfg(cls, filename: str) -> IO[str]:
        local = PathManager.get_local_path(filename) if "://" in filename else filename
        return io.StringIO(read_text(local, "file", LARGEST_CONFIG))


def merge_file(cfg: CfgNode, path: str) -> None:
    """Merge a YAML file, with its `_BASE_` files, into `cfg`.

    Args:
        path: a path, or a name below `configs/`, see `find_config`.
    Raises:
        FileNotFoundError: it, or a base of it, is not there.
        ConfigError: not YAML, or it holds unknown keys or values of a wrong type; all of them are listed.
    """
    path = find_config(path)
    loaded = _load_yaml(path)
    if loaded.get("VERSION", cfg.VERSION) != cfg.VERSION:
        raise ConfigError(
            f"{path}: VERSION is {loaded['VERSION']}, expected {cfg.VERSION}; Detectron2's changelog says which keys "
            "were renamed in 2019"
        )
    raise_problems(merge_dict(cfg, loaded), path)


def merge_pairs(cfg: CfgNode, pairs: list[str]) -> None:
    """Merge `[KEY, VALUE, KEY, VALUE, ...]` of a command line into `cfg`.

    Raises:
        ConfigError: a value is missing, a key unknown or a type wrong; all mistakes are listed.
    """
    flags = [p for p in pairs[0::2] if isinstance(p, str) and p.startswith("--")]
    if flags:
        raise ConfigError(f"{', '.join(flags)} after the first KEY VALUE pair: expected keys and their values alone")
    if len(pairs) % 2:
        raise ConfigError(
            f"KEY VALUE pairs: got {len(pairs)} words, expected an even number; is a value missing, or one with "
            f"spaces not quoted? Got: {' '.join(map(str, pairs))}"
        )
    problems = []
    for key, value in zip(pairs[0::2], pairs[1::2]):
        problems += _merge_path(cfg, key, value)
    raise_problems(problems, "the command line")


def merge_dict(cfg: CfgNode, loaded: dict, prefix: str = "") -> list[str]:
    """Merge nested dicts into `cfg` and return what is wrong with them; `prefix` ends with a dot or is empty."""
    problems: list[str] = []
    node = _node(cfg, prefix)
    for key, value in loaded.items():
        full_key = f"{prefix}{key}"
        new_key = present_key(full_key)
        if new_key != full_key and isinstance(value, dict):
            problems += _merge_moved(cfg, full_key, value)
        elif isinstance(value, dict) and (isinstance(node.get(key), CfgNode) or _was_a_node(full_key)):
            problems += merge_dict(cfg, value, full_key + ".")
        elif key not in node and node.is_new_allowed():
            node[key] = CfgNode(value) if isinstance(value, dict) else value
        else:
            problems += _merge_path(cfg, full_key, value)
    return problems


def raise_problems(problems: list[str], where: str) -> None:
    """Raise one ConfigError with a numbered list, if there are problems."""
    problems = list(dict.fromkeys(problems))
    if problems:
        listed = "\n".join(f"  {i}. {text}" for i, text in enumerate(problems, 1))
        raise ConfigError(f"{len(problems)} problem{'s' * (len(problems) > 1)} in {where}:\n{listed}")


def all_keys(cfg: CfgNode, prefix: str = "") -> list[str]:
    """Full names of all keys and nodes."""
    keys = []
    for key, value in cfg.items():
        keys.append(prefix + key)
        if isinstance(value, CfgNode):
            keys += all_keys(value, f"{prefix}{key}.")
    return keys


def nearest_key(key: str, known: list[str]) -> str:
    """The known full key that most looks like `key`, by its whole name and by its last part."""
    lower, last = key.lower(), key.lower().rpartition(".")[2]

    def likeness(candidate: str) -> float:
        c = candidate.lower()
        whole = difflib.SequenceMatcher(None, lower, c).ratio()
        part = difflib.SequenceMatcher(None, last, c.rpartition(".")[2]).ratio()
        return whole + part

    return max(known, key=likeness)


def _load_yaml(path: str) -> dict:
    try:
        # A config is data; Detectron2's default would run Python code found in it. Only its RetinaNet files need that.
        loaded = ConfigFile.load_yaml_with_base(path, allow_unsafe=os.environ.get(UNSAFE_YAML) == "1")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: its _BASE_ {error}") from error
    except yaml.constructor.ConstructorError as error:
        raise ConfigError(
            f"{path}: it asks to run Python code, which is refused ({error.problem}). Write the value out, or, if you "
            f"trust the file, set the environment variable {UNSAFE_YAML}=1"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: nested too deep, or its _BASE_ files name each other in a circle") from error
    # An empty file, a base that has a value where this has a node, a date that is none.
    except (AssertionError, TypeError, ValueError, KeyError, AttributeError) as error:
        if isinstance(error, D2RoadError):
            raise
        raise ConfigError(f"{path} is no config file: {error}") from error
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path} is no config file: it holds {type(loaded).__name__}, expected KEY: VALUE lines")
    return loaded


def _node(cfg: CfgNode, prefix: str) -> CfgNode:
    """The node of a prefix; an empty one where an earlier version had a node that is gone."""
    for part in prefix.split(".")[:-1]:
        cfg = cfg.get(part, CfgNode())
    return cfg


def _was_a_node(key: str) -> bool:
    """Whether an earlier version had a node of this name, whose keys stand elsewhere now."""
    return any(old.startswith(key + ".") for old in CONFIG_KEYS)


def _merge_moved(cfg: CfgNode, key: str, value: dict) -> list[str]:
    """Merge what stands under the old name `key` of a node; some of its keys may have names of their own now."""
    problems: list[str] = []
    for name, inner in value.items():
        full_key = f"{key}.{name}"
        problems += _merge_moved(cfg, full_key, inner) if isinstance(inner, dict) else _merge_path(cfg, full_key, inner)
    return problems


def _merge_path(cfg: CfgNode, key: str, value: Any) -> list[str]:
    """Set one key, by yacs's rules of decoding; what is wrong with it, if anything."""
    key = present_key(key)
    if cfg.key_is_deprecated(key):
        return []
    if cfg.key_is_renamed(key):
        try:
            cfg.raise_key_rename_error(key)
        except KeyError as error:
            return [str(error.args[0])]
    current: Any = cfg
    for part in key.split("."):
        if not isinstance(current, CfgNode) or part not in current:
            return [f"{key} is not a key; the nearest is {nearest_key(key, all_keys(cfg))}"]
        current = current[part]
    if isinstance(current, CfgNode):
        return [f"{key} is a group of keys ({', '.join(list(current)[:5])}, ...), got the value {_shown.repr(value)}"]
    value = _decode(value)
    if isinstance(current, float) and type(value) is int:
        value = float(value)  # 1 for 1.0
    if isinstance(value, str) and key in NAME_LISTS:
        value = (value,)
    value = present_value(key, value)
    odd = _odd_elements(current, value)
    if odd:
        return [f"{key} is {_shown.repr(value)}, which holds {odd}, expected elements as in its default {current!r}"]
    try:
        cfg.merge_from_list([key, value])
    except (ValueError, AssertionError, RecursionError, MemoryError):
        hint = "" if not isinstance(current, (tuple, list)) else ', such as "(a, b)" or "(a,)"'
        return [
            f"{key} is {_shown.repr(value)} ({type(value).__name__}), expected {type(current).__name__}{hint} "
            f"as in its default {current!r}"
        ]
    return []


def _odd_elements(default: Any, value: Any) -> str:
    """An element of a list that is no number among numbers, no text among texts; "" where there is none."""
    if not (isinstance(default, (tuple, list)) and default and isinstance(value, (tuple, list))):
        return ""
    for kind in (str, numbers.Real):
        if all(isinstance(element, kind) and not isinstance(element, bool) for element in default):
            odd = [e for e in value if not isinstance(e, kind) or isinstance(e, bool)]
            return named(odd[0]) if odd else ""
    return ""


def _decode(value: Any) -> Any:
    """Text as yacs reads it: a Python literal where it is one."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # the last two: nested too deep
        return value
