"""Protobuf messages and the model: ``reading`` validates requests, ``writing`` builds answers."""
