"""The commands of d2road, a module each: `d2road VERB` or `python -m d2road.cli.VERB`."""
