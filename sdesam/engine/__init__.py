"""How a kernel is executed.  Today: eagerly, in batched torch, on the device of x0."""
