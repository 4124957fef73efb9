"""Who may use the page: names and passwords, needed where others than this machine reach it."""

import ipaddress
import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from d2road.utils.errors import ConfigError
from d2road.utils.input_files import read_text

logger = logging.getLogger(__name__)

VARIABLE = "D2ROAD_WEB_AUTH"
SHORTEST_PASSWORD = 8
CURE = (
    f"give users and passwords by --auth FILE (a line USER:PASSWORD each) or {VARIABLE}=USER:PASSWORD, listen at "
    "127.0.0.1, or say --no-auth where something else asks for passwords"
)


def users_of_page(file: Path | None, environment: Mapping[str, str] = os.environ) -> list[tuple[str, str]]:
    """Users and their passwords, of a file, else of the environment variable; [] where neither is given.

    Raises:
        FileNotFoundError, ConfigError: no such file, a line that is no USER:PASSWORD, a password that is too short.
    """
    if file is not None:
        text, source = read_text(file, "--auth"), f"--auth {file}"
        if file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
            logger.warning("%s can be read by other users of this machine: chmod 600 %s", source, file)
    elif environment.get(VARIABLE):
        text, source = environment[VARIABLE], VARIABLE
    else:
        return []
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    users = [_user(line, f"{source}, line {number}") for number, line in lines]
    names = [name for name, _ in users]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None or not users:
        found = "no user" if twice is None else f"the user {twice!r} twice"
        raise ConfigError(f"{source} has {found}, expected a line USER:PASSWORD for each user")
    return users


def _user(line: str, source: str) -> tuple[str, str]:
    """Name and password; no message repeats a line, which may hold a password."""
    name, colon, password = line.partition(":")
    if not colon or not name.strip():
        raise ConfigError(
            f"{source}: expected USER:PASSWORD, found a line {'without a user' if colon else 'without :'}"
        )
    if len(password) < SHORTEST_PASSWORD:
        raise ConfigError(
            f"{source}: the password of {name.strip()} has {len(password)} characters, expected {SHORTEST_PASSWORD} or "
            "more"
        )
    return name.strip(), password


def is_this_machine(host: str) -> bool:
    """Whether an address to listen at is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def check_users(host: str, users: list[tuple[str, str]], no_auth: bool) -> None:
    """Refuse a page without passwords for other machines, unless that is asked for, which is said aloud.

    Raises:
        ConfigError: there are none, or users are given together with `no_auth`.
    """
    if users and no_auth:
        raise ConfigError(f"--no-auth is given, and users by --auth or {VARIABLE}: leave out one of them")
    if is_this_machine(host) or users:
        return
    if not no_auth:
        raise ConfigError(f"--host {host} lets other machines use the page without a password: {CURE}")
    logger.warning("--no-auth: everybody who reaches %s may upload files, and see the page, without a password", host)
