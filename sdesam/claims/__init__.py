"""Statements of papers, judged by criteria in code, and the records of what was found."""
