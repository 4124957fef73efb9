"""What the benchmark of EfficientAD on traffic is made of: streams, scorers, events, tables, and the look at NGSIM."""
