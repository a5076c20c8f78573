"""The agents that can be connected: where their configuration lies, and how it is edited."""
