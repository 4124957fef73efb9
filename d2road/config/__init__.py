"""Config keys, and the one path from a command line to a config.

    default_argument_parser   --config-file, --weights, --device, --output, KEY VALUE pairs in any order
    setup_cfg                 the frozen, complete, validated config of a command line
    make_cfg                  a config of a file and pairs, neither frozen nor validated
    find_config               a config file by path, or by name below configs/
    validate                  every wrong or contradictory key at once, each with its cure
    add_common_config         the keys that all systems share, for a plain `get_cfg()`
    add_all_configs           those of every installed system (entry points `d2road.projects`), too
    register_check            what a meta-architecture has to say about its keys
    register_finalizer        keys that follow from others or from the data
    resolve_device            the device of MODEL.DEVICE, or the CPU where there is none such

A file is merged with its `_BASE_` files, old names of keys and values are read as those of today
(`d2road.utils.aliases`), and unknown keys are reported with the nearest that exist.
"""

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
