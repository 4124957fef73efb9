"""Environments of other programs: lists that say it all, and no comparison with one that is not as its list."""

import re

import pytest

from tests.factories import peers


@pytest.mark.parametrize("pins", sorted((peers.ROOT / "tests" / "peers").glob("*.txt")), ids=lambda path: path.stem)
def test_every_package_of_a_peer_is_pinned(pins):
    packages = [line for line in pins.read_text().splitlines() if line and not line.startswith("#")]
    assert packages
    assert [line for line in packages if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.!+]*", line)] == []


def test_a_peer_that_is_absent_or_of_another_list_is_skipped(tmp_path, monkeypatch):
    monkeypatch.setenv("PEERS", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match="run `make peers`"):
        peers.peer_python("commonroad")
    (tmp_path / "commonroad").mkdir()
    (tmp_path / "commonroad" / "pins.txt").write_text("commonroad-io==2020.1\n")
    with pytest.raises(pytest.skip.Exception, match="run `make peers`"):
        peers.peer_python("commonroad")
