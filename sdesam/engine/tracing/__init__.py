"""Reads a step as a list of scalar operations, and refuses what such a list cannot say."""
