"""What a rule says of a call: its arguments, its time, how often; and what agents see of it. Pure.

Which rules are about an entry at all is `hub.policy`'s to say; `judge.judge` goes on from there.
"""
