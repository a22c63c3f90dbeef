"""Measurements of webbalign against the criteria it is built to; the results are in RESULTS.md."""
