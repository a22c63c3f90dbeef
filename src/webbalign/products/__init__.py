"""The only door to FITS, ASDF, JSON and CRDS: exposures, products, references, WCS."""
