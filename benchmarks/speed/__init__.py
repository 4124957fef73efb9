"""Parts of benchmarks/speed/benchmark.py: timing, and one module for each system."""
