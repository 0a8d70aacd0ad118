"""Everything that is said to NATS JetStream: streams, storing, consuming, looking up, dead letters."""
