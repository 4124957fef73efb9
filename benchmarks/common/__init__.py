"""What all benchmarks share: records of finished runs, trainings, tables."""
