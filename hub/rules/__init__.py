"""What a rule says of a call: its arguments, its time, how often; and what agents see of it."""
