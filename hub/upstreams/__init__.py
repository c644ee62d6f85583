"""Servers, supervised: `fleet.Fleet` has all, `upstream.Upstream` is one, `berth.Berth` one link to it.

How bytes get to a server and back is not known here: that is `connectors`.
"""
