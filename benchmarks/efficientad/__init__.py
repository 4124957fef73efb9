"""What the benchmarks of EfficientAD share: runs, their results, the baseline, comparisons, images, tables."""
