"""What happens next: rules from values to values, without I/O, clock or chance."""
