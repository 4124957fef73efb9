"""The environment of a record: versions of what is installed, and nothing of what is not."""

from importlib.metadata import version

import d2road
from d2road.utils import environment
from d2road.utils.environment import now, run_environment


def test_versions_and_processor_are_named_and_what_is_not_installed_is_left_out(monkeypatch):
    monkeypatch.setattr(environment, "PACKAGES", ("numpy", "no-such-package"))
    found = run_environment()
    assert found["d2road"] == d2road.__version__ and found["numpy"] == version("numpy")
    assert "no-such-package" not in found and found["processor"] and int(found["cores"]) >= 1
    assert now()[10] == "T" and now()[-6] in "+-"
