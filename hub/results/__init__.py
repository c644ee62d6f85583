"""Results that do not fit: kept, and read by their places."""
