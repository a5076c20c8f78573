"""The verbs of the librarians: answers that came after their caller had left."""

from __future__ import annotations

from ifmem.client.loop import Loop
from ifmem.client.overview import Overview
from ifmem.wire.answers import Answer
from ifmem.wire.librarian_calls import ArchiveAnswerCall


class LibrarianVerbs(Overview):
    """A connected memory, as far as it reads what librarians said."""

    async def archive_answer(self, query_id: str) -> Answer:
        """The answer to a question that was kept until a quota reset, or not waited for.

        Args:
            query_id: as ``QuotaExhausted`` tells it.

        Raises:
            NotFound: there is no such question, or its answer was kept long enough.
            QuotaExhausted: it still waits; ``resets_at`` says until when.
            Unavailable: it is being worked on.
            Refused: it was not answered in time.

        Example:
            try:
                answer = await memory.ask("Who maintains the lighthouse?")
            except QuotaExhausted as error:
                later = error.facts["query_id"]
        """
        call = ArchiveAnswerCall(query_id)
        return await self._call("archive_answer", call, Answer, id=query_id)


class BlockingLibrarians:
    """The same verbs, each waiting for its result."""

    _memory: LibrarianVerbs
    _loop: Loop

    def archive_answer(self, query_id: str) -> Answer:
        """The answer to a question that was kept until a quota reset, or not waited for."""
        return self._loop.run(self._memory.archive_answer(query_id))
