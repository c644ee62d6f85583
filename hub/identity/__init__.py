"""Who asks: credentials and what they prove."""
