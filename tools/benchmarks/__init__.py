"""Parts of tools/benchmark.py: timing, and one module for each system."""
