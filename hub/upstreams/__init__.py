"""Servers, supervised: one of them, all of them, and what each link to one needs."""
