"""CA and certificates, sealed secrets."""
