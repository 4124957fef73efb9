"""Relation layer: which candidates a sentence means, by comparing them."""
