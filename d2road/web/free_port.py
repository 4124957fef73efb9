"""The port of a server, before it is started."""

import socket

from d2road.utils.errors import ConfigError


def free_port(host: str, port: int) -> int:
    """The port itself, or for 0 one that is free.

    Raises:
        ConfigError: host or port cannot be had.
    """
    try:
        kind = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(kind, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return probe.getsockname()[1]
    except OSError as error:
        raise ConfigError(
            f"--host {host} --port {port} cannot be had ({error.strerror or error}); is another page there? "
            "Choose another --port, 0 for any that is free"
        ) from error
