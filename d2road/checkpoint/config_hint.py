"""The config that weights belong to, as far as the model zoo or the folder of their training tells."""

from pathlib import Path

from d2road.model_zoo import find_entry
from d2road.utils.addresses import is_address, zoo_name
from d2road.utils.errors import CheckpointError


def config_of_weights(source: str) -> str:
    """The file of the config that weights were trained with or are to be used with; "" where nothing tells.

    Args:
        source: their path or address.
    """
    name = zoo_name(source)
    if name is not None:
        try:
            config = find_entry(name).config
        except CheckpointError:
            return ""
        return f"configs/{config}" if config else ""
    beside = Path(source).parent / "config.yaml"
    return str(beside) if not is_address(source) and beside.is_file() else ""


def config_hint(source: str) -> str:
    """What to say of it where weights do not fit, the end of a sentence."""
    config = config_of_weights(source)
    return f"; its config is {config}, so take --config-file {config}" if config else ""
