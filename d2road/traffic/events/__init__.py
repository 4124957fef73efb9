"""Alarms from scored windows of a stream, and how well they find events."""
