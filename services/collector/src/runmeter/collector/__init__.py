"""Runmeter's collector: measures what a CI job uses and pushes one summary."""
