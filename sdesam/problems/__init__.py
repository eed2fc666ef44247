"""What is optimized, and what is random in it: landscapes, noise, oracles, observables, their calculus."""
