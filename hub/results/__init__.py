"""Results that do not fit: kept, and read by their places. `results.Results` is what the running hub holds.

Agents read them with tools of the hub's own (`hub.builtin.read`), people with `hub results`.
"""
