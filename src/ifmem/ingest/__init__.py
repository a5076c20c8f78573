"""From files to drafts: walking, decoding, reading."""
