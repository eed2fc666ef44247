"""Writes lists of scalar operations as machine code with the time loop inside, checks it, and runs it."""
