"""What the command line does, with a hub that runs or without. Prints nothing: that is `hub.cli`.

Nothing that serves agents imports from here.
"""
