"""A config.yaml of version 0.1 merges, and what is then written merges without a word and says the same."""

import logging
from pathlib import Path

import pytest
from detectron2.config import CfgNode

from d2road.config import make_cfg
from d2road.config.merge import merge_dict
from d2road.utils import aliases

STORED = sorted((Path(__file__).resolve().parent / "v0_1").glob("*/config.yaml.txt"))


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.parent.name)
def test_a_stored_config_merges_and_its_dump_merges_without_warning(path, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(aliases, "_warned", set())
    cfg = make_cfg(str(path))
    (tmp_path / "config.yaml.txt").write_text(cfg.dump())
    monkeypatch.setattr(aliases, "_warned", set())
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        again = make_cfg(str(tmp_path / "config.yaml.txt"))
    assert not caplog.records
    assert again.dump() == cfg.dump()


@pytest.fixture
def table(monkeypatch) -> None:
    """A table of aliases with a moved node, a key of it that moved elsewhere, and values of each kind."""
    monkeypatch.setattr(aliases, "_warned", set())
    monkeypatch.setattr(aliases, "CONFIG_KEYS", {"MODEL.OLD": "MODEL.NEW", "MODEL.OLD.INNER.SEED": "INPUT.SEED"})
    monkeypatch.setattr("d2road.config.merge.CONFIG_KEYS", aliases.CONFIG_KEYS)
    monkeypatch.setattr(
        aliases,
        "CONFIG_VALUES",
        {"MODEL.NEW.NAMES": {("a", "b"): ("ab",), "c": "d"}, "MODEL.NEW.KIND": {True: "on"}},
    )


def new_cfg() -> CfgNode:
    inner = {"INNER": {"SIZE": 1}, "NAMES": (), "KIND": ""}
    return CfgNode({"MODEL": {"NEW": inner}, "INPUT": {"SEED": 0}})


def test_a_key_of_a_moved_node_may_have_moved_elsewhere(table):
    cfg = new_cfg()
    assert not merge_dict(cfg, {"MODEL": {"OLD": {"INNER": {"SIZE": 3, "SEED": 5}, "NAMES": ["a", "c"]}}})
    assert (cfg.MODEL.NEW.INNER.SIZE, cfg.INPUT.SEED, cfg.MODEL.NEW.NAMES) == (3, 5, ("a", "d"))


def test_values_are_renamed_as_a_whole_or_by_element(table):
    for written in (["a", "b"], ("a", "b")):
        assert aliases.present_value("MODEL.NEW.NAMES", written) == ("ab",)
    assert aliases.present_value("MODEL.NEW.NAMES", ("b", "c")) == ("b", "d")
    assert aliases.present_value("MODEL.NEW.KIND", True) == "on"
    assert aliases.present_value("MODEL.NEW.KIND", 1) == 1


def test_each_entry_of_the_table_warns_once(table, caplog):
    for _ in range(2):
        merge_dict(new_cfg(), {"MODEL": {"OLD": {"INNER": {"SIZE": 3}, "NAMES": ["c", "c"]}}})
        merge_dict(new_cfg(), {"MODEL": {"OLD": {"KIND": True, "INNER": {"SEED": 2}}}})
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "config key MODEL.OLD is now MODEL.NEW",
        "MODEL.NEW.NAMES 'c' is now 'd'",
        "MODEL.NEW.KIND True is now 'on'",
        "config key MODEL.OLD.INNER.SEED is now INPUT.SEED",
    ]
