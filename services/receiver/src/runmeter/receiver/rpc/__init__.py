"""The gRPC server: methods, what happens around every call, statuses."""
