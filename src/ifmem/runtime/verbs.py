"""Which verb does which call: the methods of the protocol, what they take, and who answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from ifmem.errors import Invalid
from ifmem.runtime import archiving, auditing, briefing, inbox, listing, messaging, tasking
from ifmem.runtime.archive_outcomes import archive_answer
from ifmem.runtime.capturing import capture
from ifmem.runtime.coordinating import coordinate, estimate
from ifmem.runtime.costing import costs, list_ledger
from ifmem.runtime.following import acknowledge
from ifmem.runtime.forgetting import forget, forget_matching, lift, list_forgotten
from ifmem.runtime.keeping_captured import forget_captured
from ifmem.runtime.librarian_elsewhere import librarian_answer, librarian_claim
from ifmem.runtime.loading import load_rows, load_text
from ifmem.runtime.quarantining import release
from ifmem.runtime.querying import query
from ifmem.runtime.recalling import recall
from ifmem.runtime.remembering import list_findings, remember
from ifmem.runtime.space import Space
from ifmem.runtime.verifying import verify, verify_audit
from ifmem.wire import (
    agent_calls,
    audit_calls,
    calls,
    export_calls,
    forget_calls,
    inbox_calls,
    librarian_calls,
    message_calls,
    session_calls,
    verify_calls,
)


def decoded(request: calls.Request) -> msgspec.Struct:
    """What a request takes.

    Raises:
        Invalid: an unknown method, or parameters of another shape.
    """
    kind = PARAMS.get(request.method)
    if kind is None:
        raise Invalid(f"there is no method {request.method[:60]!r}")
    try:
        return msgspec.json.decode(request.params, type=kind)
    except msgspec.MsgspecError as error:
        raise Invalid(f"{request.method}: {error}") from error


PARAMS: dict[str, type[msgspec.Struct]] = {
    "load": calls.LoadCall,
    "load_text": calls.LoadTextCall,
    "load_rows": calls.LoadRowsCall,
    "ask": calls.AskCall,
    "estimate": calls.EstimateCall,
    "query": calls.QueryCall,
    "recall": calls.RecallCall,
    "remember": calls.RememberCall,
    "findings": calls.FindingsCall,
    "follow": calls.FollowCall,
    "acknowledge": calls.AcknowledgeCall,
    "forget": calls.ForgetCall,
    "forget_matching": forget_calls.ForgetMatchingCall,
    "lift": forget_calls.LiftCall,
    "forgotten": forget_calls.ForgottenCall,
    "capture": agent_calls.CaptureCall,
    "forget_captured": agent_calls.ForgetCapturedCall,
    "release": agent_calls.ReleaseCall,
    "send": message_calls.SendCall,
    "receive": message_calls.ReceiveCall,
    "acknowledge_messages": message_calls.AcknowledgeMessagesCall,
    "follow_topic": message_calls.FollowTopicCall,
    "unfollow_topic": message_calls.UnfollowTopicCall,
    "sources": calls.SourcesCall,
    "costs": calls.CostsCall,
    "ledger": calls.LedgerCall,
    "task_post": calls.TaskPostCall,
    "task_claim": calls.TaskClaimCall,
    "task_renew": calls.TaskRenewCall,
    "task_release": calls.TaskReleaseCall,
    "task_finish": calls.TaskFinishCall,
    "task_cancel": calls.TaskCancelCall,
    "task_requeue": calls.TaskRequeueCall,
    "task_show": calls.TaskCall,
    "task_list": calls.TaskListCall,
    "finding": agent_calls.FindingCall,
    "newest_findings": agent_calls.NewestFindingsCall,
    "finding_names": agent_calls.FindingNamesCall,
    "brief": agent_calls.BriefCall,
    "sessions": session_calls.SessionsCall,
    "session": session_calls.SessionCall,
    "session_end": session_calls.SessionEndCall,
    "verify": verify_calls.VerifyCall,
    "verify_audit": verify_calls.VerifyAuditCall,
    "archive_answer": librarian_calls.ArchiveAnswerCall,
    "librarian_claim": librarian_calls.LibrarianClaimCall,
    "librarian_answer": librarian_calls.LibrarianAnswerCall,
    "inbox": inbox_calls.InboxCall,
    "inbox_item": inbox_calls.InboxItemCall,
    "inbox_resolve": inbox_calls.InboxResolveCall,
    "conflicts": inbox_calls.ConflictsCall,
    "watch": agent_calls.WatchCall,
    "audit": audit_calls.AuditCall,
    "audit_accept": audit_calls.AcceptBreakCall,
    "audit_chain": calls.Nothing,
    "audit_checkpoint": calls.Nothing,
    "shards": calls.Nothing,
    "workers": calls.Nothing,
    "status": calls.StatusCall,
    "doctor": calls.DoctorCall,
    "export": export_calls.ExportCall,
    "import": export_calls.ImportCall,
    "up": calls.UpCall,
}

VERBS: dict[type[msgspec.Struct], Callable[[Space, Any], Awaitable[Any]]] = {
    calls.LoadTextCall: load_text,
    calls.LoadRowsCall: load_rows,
    calls.AskCall: coordinate,
    calls.EstimateCall: estimate,
    calls.QueryCall: query,
    calls.RecallCall: recall,
    calls.RememberCall: remember,
    calls.FindingsCall: list_findings,
    calls.AcknowledgeCall: acknowledge,
    calls.ForgetCall: forget,
    forget_calls.ForgetMatchingCall: forget_matching,
    forget_calls.LiftCall: lift,
    forget_calls.ForgottenCall: list_forgotten,
    agent_calls.CaptureCall: capture,
    agent_calls.ForgetCapturedCall: forget_captured,
    agent_calls.ReleaseCall: release,
    message_calls.SendCall: messaging.send,
    message_calls.ReceiveCall: messaging.receive,
    message_calls.AcknowledgeMessagesCall: messaging.acknowledge_messages,
    message_calls.FollowTopicCall: messaging.follow_topic,
    message_calls.UnfollowTopicCall: messaging.unfollow_topic,
    calls.SourcesCall: listing.list_sources,
    calls.CostsCall: costs,
    calls.LedgerCall: list_ledger,
    calls.TaskPostCall: tasking.post_task,
    calls.TaskClaimCall: tasking.claim_task,
    calls.TaskRenewCall: tasking.renew_task,
    calls.TaskReleaseCall: tasking.release_task,
    calls.TaskFinishCall: tasking.finish_task,
    calls.TaskCancelCall: tasking.cancel_task,
    calls.TaskRequeueCall: tasking.requeue_task,
    calls.TaskCall: tasking.show_task,
    calls.TaskListCall: tasking.list_tasks,
    audit_calls.AuditCall: auditing.list_audit,
    audit_calls.AcceptBreakCall: auditing.accept_break,
    agent_calls.FindingCall: briefing.show_finding,
    agent_calls.NewestFindingsCall: briefing.newest_findings,
    agent_calls.FindingNamesCall: briefing.finding_names,
    agent_calls.BriefCall: briefing.brief,
    session_calls.SessionsCall: archiving.list_sessions,
    session_calls.SessionCall: archiving.show_session,
    session_calls.SessionEndCall: archiving.end_session,
    verify_calls.VerifyCall: verify,
    verify_calls.VerifyAuditCall: verify_audit,
    librarian_calls.ArchiveAnswerCall: archive_answer,
    librarian_calls.LibrarianClaimCall: librarian_claim,
    librarian_calls.LibrarianAnswerCall: librarian_answer,
    inbox_calls.InboxCall: inbox.list_inbox,
    inbox_calls.InboxItemCall: inbox.show_item,
    inbox_calls.InboxResolveCall: inbox.resolve,
    inbox_calls.ConflictsCall: inbox.list_conflicts,
}

LISTS: dict[str, Callable[[Space], Awaitable[Any]]] = {
    "audit_chain": auditing.check_audit,
    "audit_checkpoint": auditing.checkpoint,
    "shards": listing.list_shards,
    "workers": listing.list_workers,
}
