"""How the demo looks to a person."""

from __future__ import annotations

from ifmem.entrypoints.cli import answers, render
from ifmem.entrypoints.cli.paper import Bold, Dim, Paper, count
from ifmem.entrypoints.demo import Demonstration, TokenAccount
from ifmem.entrypoints.local_demo import LocalDemonstration


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
        answers.answer(paper, answer)
    paper.line()
    _account(paper, shown.account)
    paper.line()
    render.shards(paper, shown.shards)
    paper.line()
    _local(paper, shown.local)
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


def _local(paper: Paper, shown: LocalDemonstration) -> None:
    cold, hot, answered = shown.cold, shown.hot, shown.answered
    if cold is None or hot is None or answered is None:
        paper.line(Bold("local model "), shown.missing or "not shown")
        return
    paper.line(Bold("local model"), f" ({shown.model}, in this process: no key, no network, $0)")
    paper.line(Dim(f"  over {shown.text}; time to the first token, one sample of each"))
    for what, asked in (("cold", cold), ("hot ", hot)):
        paper.line(
            f"  {what} {asked.first_token_ms:>9,.0f} ms  "
            f"{asked.evaluated:>4,} prompt tokens evaluated, {asked.reused:>4,} reused"
        )
    paper.line("  hot is ", Bold(f"{shown.ratio:,.0f}×"), " sooner, with another question")
    paper.line(Bold(f"? {hot.question}"))
    paper.line(answered.answer)
    if answered.quote is None:
        paper.line("  not believed: no sentence of the text holds what it says")
    else:
        paper.line(f'  line {answered.line} of the text: "{answered.quote}" (found by code)')
