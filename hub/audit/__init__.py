"""The chain over the record: signed, verified, thinned out; and what never gets into it.

`keeper.Keeper` is what the running hub holds. What is hashed and how it is stored is in `hub.store`.
"""
