"""The grounder as graphs of tensors, for programs without PyTorch."""
