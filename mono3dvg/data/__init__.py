"""Grounding data: registered sets, mapper, converters, labelled sources, the toy data."""
