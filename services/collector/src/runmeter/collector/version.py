"""Version of this distribution, as a constant: ``importlib.metadata`` costs megabytes."""

VERSION = "0.1.0"
