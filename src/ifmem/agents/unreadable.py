"""Why a configuration file cannot be edited, before it is known which file that is."""

from __future__ import annotations


class UnreadableError(Exception):
    """The text is not what its file should hold; the message is the second half of a sentence."""
