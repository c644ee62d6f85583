"""What is measured, one file each: `async def measure(folder, quick)` returns figures by name.

Each starts what it needs in `folder` and ends it. A gateway that cannot be had is no figure, and a sentence
in `not_measured`.
"""
