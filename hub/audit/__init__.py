"""The chain over the record: signed, verified, thinned out; and what never gets into it."""
