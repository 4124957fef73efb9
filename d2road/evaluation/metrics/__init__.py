"""Protocols as pure functions on arrays: overlaps, matching, AP, similarities, intervals. No Detectron2."""
