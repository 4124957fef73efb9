"""Fuzzing of every verb that reads files: valid files, damaged and twisted, must give a result or a clear refusal."""
