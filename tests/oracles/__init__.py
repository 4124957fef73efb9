"""Oracles: plain implementations by definition, or by other libraries, that tests compare with."""
