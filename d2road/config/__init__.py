"""Config keys, and the one path from a command line to a config."""

from d2road.config.defaults import add_common_config, resolve_device
from d2road.config.find import find_config
from d2road.config.projects import add_all_configs
from d2road.config.setup import make_cfg, register_finalizer, setup_cfg
from d2road.config.validate import register_check, validate
from d2road.utils.arguments import default_argument_parser

__all__ = [
    "add_all_configs",
    "add_common_config",
    "default_argument_parser",
    "find_config",
    "make_cfg",
    "register_check",
    "register_finalizer",
    "resolve_device",
    "setup_cfg",
    "validate",
]
