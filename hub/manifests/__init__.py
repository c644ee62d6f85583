"""What people wrote, in our form or in another's: read, checked, pointed at by file and line.

`manifest.load` is the way in. What stands below `connect:`, the connector that it names checks itself.
"""
