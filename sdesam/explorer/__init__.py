"""The interactive explorer: a page that computes with the traced kernels of the toolkit, and its hosts."""
