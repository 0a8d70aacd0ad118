"""Administration over the bus: which operations travel, the caller's side, the service, users and the audit."""
