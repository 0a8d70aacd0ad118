"""One trace from caller to sink: spans for what happens to a message, sent to an OTLP collector beside the work."""
