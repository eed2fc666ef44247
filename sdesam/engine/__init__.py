"""How a kernel is executed.

Two engines run the same noise.  ``eager`` steps a kernel in batched torch, on the device of x0, whatever it is made
of.  ``cpu`` is the fused one: ``members`` takes a kernel apart, ``trace`` reads each step as a list of scalar
operations (``programs``), ``printer`` writes the lists as machine code with the time loop inside, ``trial`` compares
that with its lists before it is used, ``runtime`` runs it over units and ``reductions`` sums.  ``choice`` decides.
"""
