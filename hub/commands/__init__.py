"""What the command line does, with a hub that runs or without."""
