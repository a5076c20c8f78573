"""Gemini's adapter under the contract, where the service finds equal prefixes by itself."""

from __future__ import annotations

from model_contract import Has
from subject_gemini import Gemini

SUBJECT = Gemini(
    "gemini-implicit",
    frozenset({Has.MISS_REASON, Has.LIMITS, Has.LIFETIME}),
    objects=False,
)
