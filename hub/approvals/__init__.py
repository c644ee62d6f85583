"""Calls that wait for a person: `approvals.Approvals` keeps them, and says who may go on.

Where a call meets them is `hub.middleware.approve`; which calls those are, the rules say.
"""
