"""The commands of d2road, a module each: `d2road VERB` or `python -m d2road.cli.VERB`."""

import warnings

# fvcore compiles losses that nothing here uses, and PyTorch warns of it at every start.
warnings.filterwarnings("ignore", message=r"`torch\.jit\.script` is deprecated", category=FutureWarning)
