"""The receiver: its gRPC client, and messages to and from the JSON of the API."""
