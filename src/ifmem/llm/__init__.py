"""Language models: one thin adapter for each wire format, and what wraps them."""
