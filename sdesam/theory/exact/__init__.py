"""Exact laws and functions, which approximations are tested against."""
