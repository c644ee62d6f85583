"""What people wrote, in our form or in another's: read, checked, pointed at by file and line."""
