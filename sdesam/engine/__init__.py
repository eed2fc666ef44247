"""How a kernel is executed.

Two engines run the same noise.  ``eager`` steps a kernel in batched torch, on the device of x0, whatever it is made
of.  ``cpu`` is the fused one: ``trace`` reads a step as a list of scalar operations (``scalars``), ``printer`` writes
the list as machine code with the time loop inside, and ``runtime`` sums over units.  ``choice`` decides.
"""
