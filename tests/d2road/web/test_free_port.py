"""Ports: free ones are found, taken ones are told."""

import socket

import pytest

from d2road.utils.errors import ConfigError
from d2road.web.free_port import free_port


def test_a_port_in_use_is_told_and_a_free_one_found():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="Choose another --port"):
            free_port("127.0.0.1", taken.getsockname()[1])
    with socket.socket() as free:
        free.bind(("127.0.0.1", free_port("127.0.0.1", 0)))
    with pytest.raises(ConfigError, match=r"--host no\.such\.host\.invalid"):
        free_port("no.such.host.invalid", 0)
