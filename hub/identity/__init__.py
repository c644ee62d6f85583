"""Who asks: credentials, and which agent they prove. `identity.Identities` is what the running hub holds.

What that agent may do is not known here, but for how far a token is narrower: `hub.policy` decides.
"""
