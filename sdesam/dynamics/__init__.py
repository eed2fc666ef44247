"""What moves: update fields, optimizers and discretised SDEs, all of them Markov kernels, and their couplings."""
