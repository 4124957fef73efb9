"""Old names of config keys, values, data sets, texts and weights are read as those of today."""

from pathlib import Path

import pytest
import yaml

from d2road.config import make_cfg
from d2road.config.merge import all_keys
from d2road.utils import aliases
from mono3dvg.config import finalize

STORED = Path(__file__).resolve().parent / "v0_1"


def test_every_alias_leads_to_a_key_that_exists():
    known = set(all_keys(make_cfg()))
    assert set(aliases.CONFIG_KEYS.values()) | set(aliases.CONFIG_VALUES) <= known
    assert not set(aliases.CONFIG_KEYS) & known


@pytest.mark.parametrize("key", sorted(aliases.CONFIG_KEYS))
def test_an_old_key_sets_the_new_one_from_command_line_and_file(key, tmp_path):
    plain, new = make_cfg(), aliases.CONFIG_KEYS[key]
    value = plain
    for part in new.split("."):
        value = value[part]
    if hasattr(value, "items"):
        pytest.skip("a node: its keys are tried by what version 0.1 stored")
    other = {bool: not value, int: 7, float: 0.25, str: "other"}.get(type(value), value)
    assert _read(make_cfg("", [key, str(other)]), new) == other
    nested: dict = {}
    node = nested
    *path, last = key.split(".")
    for part in path:
        node = node.setdefault(part, {})
    node[last] = other
    file = tmp_path / "old.yaml"
    file.write_text(yaml.safe_dump(nested))
    assert _read(make_cfg(str(file)), new) == other


@pytest.mark.parametrize(
    ("key", "old", "new"), [(k, a, b) for k, pairs in aliases.CONFIG_VALUES.items() for a, b in pairs.items()]
)
def test_an_old_value_is_read_as_the_new_one(key, old, new):
    found = _read(make_cfg("", [key, old]), key)
    assert found == new or found == (new,)


def test_a_new_name_is_left_alone():
    for pattern, replacement in aliases.STATE_DICT_NAMES:
        assert aliases.present_weight(aliases.present_weight(replacement)) == aliases.present_weight(replacement), (
            pattern
        )
    for old, new in aliases.CHECKPOINT_TEXTS:
        assert aliases.present_text(aliases.present_text(old)) == aliases.present_text(old), new
    for prefix, new in aliases.DATASET_PREFIXES.items():
        assert aliases.present_dataset(f"{prefix}:a/b") == f"{new}:a/b" == aliases.present_dataset(f"{new}:a/b")


def _read(cfg, key):
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


def test_a_stored_grounder_keeps_its_jitter_under_the_name_of_today():
    cfg = make_cfg(str(STORED / "mono3dvg" / "config.yaml.txt"), ["DATASETS.TRAIN", "()", "DATASETS.TEST", "()"])
    finalize(cfg)
    assert cfg.INPUT.GROUNDING.LIGHT_JITTER == 0.1 and cfg.INPUT.COLOR_JITTER == 0
    assert make_cfg(str(STORED / "diffusion_det" / "config.yaml.txt")).INPUT.COLOR_JITTER == 0.2
