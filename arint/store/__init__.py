"""The store: everything ARINT knows in etcd.

Layers, each thin: `transactions` (what is asked of etcd), `connection` (asking it), `watch` and `view` (following it),
`lease` and `election` (liveness and leadership), `keys` (the layout), `changesets` and `secrets` (what lies there).
Nothing is imported here: gRPC costs 100 ms, and who only builds keys should not pay for it.
"""
