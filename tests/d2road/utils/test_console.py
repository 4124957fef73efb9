"""What the terminal gets of a log."""

import logging

import pytest

from d2road.utils.console import LONG, start_console


@pytest.fixture
def log():
    found = logging.getLogger("d2road_console_test")
    yield found
    found.handlers.clear()


def test_libraries_and_long_texts_are_for_verbose_and_warnings_for_all(log, capsys):
    for verbose in (False, True):
        start_console(log.name, "detectron2", verbose=verbose)
        log.info("short")
        log.info("long", extra=LONG)
        log.warning("careful")
        logging.getLogger("detectron2.data.common").info("Serializing")
        logging.getLogger("detectron2.data.common").warning("broken")
        shown = capsys.readouterr().out
        assert ("long" in shown, "Serializing" in shown) == (verbose, verbose)
        assert shown.count("short") == 1 and "careful" in shown and "broken" in shown
    logging.getLogger("detectron2").handlers.clear()


def test_a_line_that_comes_again_is_said_once_and_a_table_each_time(log, capsys):
    start_console(log.name)
    for _ in range(2):
        log.info("set: 3 images")
        log.info("results:\n| AP |")
        log.warning("careful")
    shown = capsys.readouterr().out
    assert [shown.count(text) for text in ("set: 3 images", "| AP |", "careful")] == [1, 2, 2]


def test_how_far_an_evaluation_is_is_told_in_short(capsys):
    start_console("detectron2")
    text = "Inference done 11/16. Dataloading: 0.0207 s/iter. Total: 0.4420 s/iter. ETA=0:00:02"
    logging.getLogger("detectron2.evaluation.evaluator").info(text)
    logging.getLogger("detectron2").handlers.clear()
    assert capsys.readouterr().out.split(" ", 1)[1] == "evaluated 11/16, eta 0:00:02\n"
