"""What is wrong with a data set: frame by frame, and as a report. Nothing here prints."""
