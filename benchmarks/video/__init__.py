"""Programs that measure video tracking."""
