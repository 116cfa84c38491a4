"""The gRPC server: methods, interceptors, statuses."""
