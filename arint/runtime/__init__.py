"""Inside a worker process: take the agent's orders, load a service, process messages, record actions."""
