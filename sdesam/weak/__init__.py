"""Is an SDE a model of an optimizer: weak errors with intervals, orders in eta, comparisons along paths."""
