"""What `scripts/release.py` and `scripts/sbom.py` are made of."""
