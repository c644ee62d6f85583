"""The whole hub in simulated time: one process, one clock, one seed, faults wherever it touches the world.

See docs/simulation.md. `python -m tests.sim --seed N` replays one run exactly.
"""
