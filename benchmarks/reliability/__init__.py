"""Faults on purpose: what a run, a checkpoint and a stream are after them."""
