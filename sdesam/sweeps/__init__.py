"""Many settings, kept in a store that survives whatever ends a run."""
