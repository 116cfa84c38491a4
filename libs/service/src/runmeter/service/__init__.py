"""What the receiver and the gateway share: settings, TLS, logs, signals, ops pages."""
