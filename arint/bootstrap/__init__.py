"""From a bare machine to a member of a cluster, over SSH: inventory, facts, plan, bundle, effects.

What decides (`inventory`, `preflight`, `planning`) is pure; `ssh` and `carrying` touch other machines.
"""
