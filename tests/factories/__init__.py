"""Factories of small data sets, configs and models for tests."""
