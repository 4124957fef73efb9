"""Report of a run: one self-contained HTML page of a folder that a training or an evaluation left."""
