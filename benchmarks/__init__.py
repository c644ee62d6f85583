"""How much the hub costs: measured beside no gateway, the least possible one, and Envoy."""
