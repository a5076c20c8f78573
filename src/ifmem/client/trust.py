"""The verbs about what outlives a session and why it can be believed, all together."""

from __future__ import annotations

from ifmem.client.auditing import AuditVerbs, BlockingAudit
from ifmem.client.inbox import BlockingInbox, InboxVerbs
from ifmem.client.librarians import BlockingLibrarians, LibrarianVerbs
from ifmem.client.sessions import BlockingSessions, SessionVerbs
from ifmem.client.verifying import BlockingVerify, VerifyVerbs


class TrustVerbs(AuditVerbs, InboxVerbs, LibrarianVerbs, SessionVerbs, VerifyVerbs):
    """Those of a connected memory."""


class BlockingTrust(
    BlockingAudit, BlockingInbox, BlockingLibrarians, BlockingSessions, BlockingVerify
):
    """The same, each waiting for its result."""

    _memory: TrustVerbs
