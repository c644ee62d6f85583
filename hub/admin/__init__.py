"""What people can do to a running hub."""
