"""How the demo looks to a person."""

from __future__ import annotations

from ifmem.entrypoints.cli import render
from ifmem.entrypoints.cli.paper import Bold, Dim, Paper, count
from ifmem.entrypoints.demo import Demonstration, TokenAccount


def draw(paper: Paper, shown: Demonstration) -> None:
    """What was loaded, each question with its answer, the token account, the shards."""
    paper.line(
        Bold("loaded "),
        f"{count(shown.documents, 'document')}, {count(shown.passages, 'passage')}, "
        f"{count(shown.tokens, 'token')} ({shown.tokenizer}) in {shown.load_seconds:.1f} s",
    )
    paper.line(Dim("  this program's own files, and packages of Python's standard library"))
    for question, answer in zip(shown.asked, shown.answers, strict=True):
        paper.line()
        paper.line(Bold(f"? {question}"))
        render.answer(paper, answer)
    paper.line()
    _account(paper, shown.account)
    paper.line()
    render.shards(paper, shown.shards)
    paper.line()
    left = ", ".join(shown.left_behind) or "nothing"
    paper.line(Dim(f"stopped and removed after {shown.seconds:.1f} s; left behind: {left}"))
    paper.line("next: ", Bold("ifmem load ."), ", then ", Bold('ifmem ask "…"'))


def _account(paper: Paper, account: TokenAccount) -> None:
    paper.line(Bold("token account"), " (no language model was called: 0 tokens, $0)")
    paper.line(f"  held in shards  {account.held:>12,}")
    paper.line(f"  returned        {account.returned:>12,}  all answers with their quotes")
    for saving in account.savings:
        paper.line(
            f"  baseline        {saving.baseline_tokens:>12,}  ",
            Bold(f"{saving.ratio:,.0f}×"),
            f" the returned: {saving.baseline}",
        )
