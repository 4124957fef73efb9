"""The small valid input of every verb is valid, so that what damage does to it is due to the damage."""

import logging

import pytest

from d2road.cli.__main__ import VERBS, main
from tests.factories.verb_inputs import VERB_INPUTS


@pytest.fixture(autouse=True)
def keep_logging(monkeypatch):
    # Verbs set up logs of their own, which would take this package's log from other tests.
    monkeypatch.setattr("detectron2.utils.logger.setup_logger", lambda *args, **kwargs: logging.getLogger())


@pytest.mark.parametrize("case", VERB_INPUTS, ids=lambda case: f"{case.verb}-{case.name}")
def test_valid_input_ends_with_its_code(case, tmp_path):
    prepared = case.prepare(tmp_path)
    assert all(path.is_file() for path in prepared.files)
    assert main(prepared.argv) == case.code


def test_every_verb_that_reads_files_is_there():
    assert set(VERBS) - {case.verb for case in VERB_INPUTS} == {"quickstart", "env", "web", "zoo"}
