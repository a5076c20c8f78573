"""What models are told: pure text, versioned, byte-stable up to the cache boundary."""
