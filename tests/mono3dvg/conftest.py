"""Data that several tests of the grounder share."""

from pathlib import Path

import pytest

from tests.factories.grounders import make_data


@pytest.fixture(scope="session")
def grounding_data(tmp_path_factory) -> Path:
    """Small rendered toy data with sentences."""
    return make_data(tmp_path_factory.mktemp("grounding_data"))
