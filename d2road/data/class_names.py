"""Class names: what the class indices of a model mean, and how data in another order is numbered as the model counts.

A model knows its classes by number, and so do the files of a data set, each in an order of its own. MODEL.CLASS_NAMES
says what the numbers of the model mean: the names that its weights carry, else those of the training data. Whatever
meets the model by number, dataset dicts on their way in and predictions on their way to an evaluator, is matched by
name; data with a class that the model does not know is refused with both lists.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from d2road.data.catalog import class_names_of
from d2road.utils.errors import ConfigError, D2RoadError, DataError

logger = logging.getLogger(__name__)

KEY = "MODEL.CLASS_NAMES"
SHOWN = 30  # names listed in a message
# In the metadata of data sets whose classes stand in a file.
FILE_KEYS = ("json_file", "classes_file")


def known_class_names(name: str) -> list[str] | None:
    """Class names of a registered data set by class index; None where it has none, or its files are not here.

    Raises:
        DataError: its file cannot be read.
    """
    metadata = MetadataCatalog.get(name) if name in DatasetCatalog else None
    if metadata is None:
        return None
    if not metadata.get("thing_classes") and not any(Path(metadata.get(k, "")).is_file() for k in FILE_KEYS):
        return None
    return class_names_of(name)


def class_names_of_sets(names: str | Sequence[str]) -> list[str]:
    """Class names of data sets that are used together: those of the first, which has every class of the others.

    Raises:
        ConfigError: no name; unknown name.
        DataError: another one has a class that the first lacks.
        FileNotFoundError: the data is not there.
    """
    names = [names] if isinstance(names, str) else list(names)
    if not names:
        raise ConfigError(
            "the classes shall come from weights that tell their names or from data, but MODEL.WEIGHTS is empty or "
            "tells none, and DATASETS names none"
        )
    first, *others = [class_names_of(name) for name in names]
    for name, classes in zip(names[1:], others):
        class_numbers(classes, first, f"data set '{name}'", f"data set '{names[0]}'")
    return first


def num_classes_of(names: str | Sequence[str]) -> int:
    """Number of classes of data sets that are used together; see `class_names_of_sets`."""
    return len(class_names_of_sets(names))


def class_numbers(
    given: Sequence[str], wanted: Sequence[str], given_by: str, wanted_by: str, cure: str = ""
) -> dict[int, int]:
    """Class index among the `given` names -> index among the `wanted` ones, by name.

    Args:
        given_by, wanted_by: whose names they are, for the message.
        cure: said at its end.
    Raises:
        DataError: a given name is not among the wanted ones, or names come twice, so that they tell nothing.
    """
    given, wanted = list(given), list(wanted)
    if given == wanted:
        return {i: i for i in range(len(given))}
    unknown = [name for name in given if name not in wanted]
    if unknown or len(set(wanted)) < len(wanted) or len(set(given)) < len(given):
        why = f"{_listed(unknown)} is not among them" if len(unknown) == 1 else f"{_listed(unknown)} are not among them"
        raise DataError(
            f"{given_by} has the classes {_listed(given)}, and {wanted_by} {_listed(wanted)}: "
            f"{why if unknown else 'names come twice'}{cure}"
        )
    return {i: wanted.index(name) for i, name in enumerate(given)}


def is_same_order(numbers: Mapping[int, int]) -> bool:
    """Whether every class keeps its index."""
    return all(old == new for old, new in numbers.items())


def renumbered(name: str, dicts: Sequence[dict], wanted: Sequence[str]) -> list[dict]:
    """Dataset dicts of a data set with their classes numbered as in `wanted`; the dicts themselves where they are.

    Changed are `category_id` of annotations and `category_ids` of expressions.

    Raises:
        DataError: the data set has a class that is not in `wanted`.
    """
    given = known_class_names(name)
    if not given or not len(wanted):
        return list(dicts)
    numbers = class_numbers(given, wanted, f"data set '{name}'", f"the model ({KEY})")
    if is_same_order(numbers):
        return list(dicts)
    logger.info("data set '%s' counts its classes otherwise than the model: they are matched by name", name)
    return [_renumbered(record, numbers) for record in dicts]


def _renumbered(record: dict, numbers: Mapping[int, int]) -> dict:
    record = dict(record)
    if "annotations" in record:
        record["annotations"] = [{**a, "category_id": numbers[a["category_id"]]} for a in record["annotations"]]
    if "expressions" in record:
        record["expressions"] = [
            {**e, "category_ids": [numbers[i] for i in e.get("category_ids", ())]} for e in record["expressions"]
        ]
    return record


def training_class_names(cfg: CfgNode) -> list[str]:
    """Class names of DATASETS.TRAIN, see `class_names_of_sets`; [] where it tells none.

    Raises:
        DataError: training sets that cannot be used together.
    """
    names = cfg.DATASETS.TRAIN
    known = [known_class_names(name) for name in names]
    return class_names_of_sets(names) if known and all(known) else []


def with_class_names(cfg: CfgNode, names: Sequence[str]) -> CfgNode:
    """The config with MODEL.CLASS_NAMES where it has none; as frozen as it was."""
    if not names or len(cfg.MODEL.CLASS_NAMES):
        return cfg
    changed, frozen = cfg.clone(), cfg.is_frozen()
    changed.defrost()
    changed.MODEL.CLASS_NAMES = tuple(names)
    if frozen:
        changed.freeze()
    return changed


def class_name_problems(cfg: CfgNode, datasets: Iterable[str]) -> list[str]:
    """Data sets with a class that the model does not know, a line each with both lists."""
    problems = []
    for name in dict.fromkeys(datasets if len(cfg.MODEL.CLASS_NAMES) else ()):
        try:
            known = known_class_names(name)
            if known:
                cure = f". Take data of these classes, or set {KEY} to those of the model ('()': of DATASETS.TRAIN)"
                class_numbers(known, cfg.MODEL.CLASS_NAMES, f"data set '{name}'", f"the model ({KEY})", cure)
        except (D2RoadError, FileNotFoundError) as error:
            problems.append(str(error))
    return problems


def class_count_problems(
    key: str, num_classes: int, datasets: Sequence[str], class_names: Sequence[str] = ()
) -> list[str]:
    """Whether a configured class count is that of the model's class names, or where they are not known of data sets.

    A data set whose classes only its files tell, and whose files are not on this machine, is not judged: a trained
    model can be used without its data.

    Args:
        key: config key of the count, for the message.
        datasets: registered ones; others are left to the check of names.
        class_names: of the model, MODEL.CLASS_NAMES.
    """
    if num_classes == 0 or len(class_names) == num_classes:  # 0: the data could not tell it, which is said elsewhere
        return []
    problems = []
    for name in dict.fromkeys(datasets):
        try:
            known = known_class_names(name)
        except (ValueError, FileNotFoundError) as error:
            problems.append(str(error))
            continue
        # With names known, a data set may lack some.
        if known and len(known) != num_classes and (not len(class_names) or known == list(class_names)):
            problems.append(
                f"{key} is {num_classes}, but data set '{name}' has {len(known)} classes; set it to {len(known)}"
            )
    if len(class_names) and not problems:
        count = len(class_names)
        problems.append(f"{key} is {num_classes}, but the classes are {_listed(class_names)}; set it to {count}")
    return problems


def warn_of_unnamed_classes(cfg: CfgNode, weights: str) -> None:
    """Say what the classes of weights without class names are taken to be, before they are evaluated."""
    for name in cfg.DATASETS.TEST:
        known = known_class_names(name)
        if known and not len(cfg.MODEL.CLASS_NAMES):
            logger.warning(
                "%s tells no class names: its classes are taken to be those of data set '%s' in their order, %s. "
                "%s names them", weights or "the model", name, _listed(known), KEY,
            )  # fmt: skip
        elif known and known != list(cfg.MODEL.CLASS_NAMES):
            logger.warning(
                "%s tells no class names: its classes are taken to be %s (%s), and those of data set '%s', %s, are "
                "matched by name", weights or "the model", _listed(cfg.MODEL.CLASS_NAMES), KEY, name, _listed(known),
            )  # fmt: skip


def _listed(names: Sequence[str]) -> str:
    return f"[{', '.join(names[:SHOWN])}{f', ... {len(names)} in all' * (len(names) > SHOWN)}]"
