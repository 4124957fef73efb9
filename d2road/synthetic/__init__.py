"""Generators of toy data: roadside views, fastener kits, traffic with incidents."""
