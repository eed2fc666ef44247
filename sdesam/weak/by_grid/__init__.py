"""Weak errors without Monte Carlo: one step's expectation on a grid, backwards in time."""
