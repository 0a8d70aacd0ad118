"""The node agent: runs the engines and the workers of one machine, keeps its lease, takes part in placement."""
