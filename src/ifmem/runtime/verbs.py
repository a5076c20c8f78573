"""Which verb does which call: the methods of the protocol, what they take, and who answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from ifmem.errors import Invalid
from ifmem.runtime import briefing, listing, messaging, tasking
from ifmem.runtime.capturing import capture
from ifmem.runtime.coordinating import coordinate, estimate
from ifmem.runtime.costing import costs, list_ledger
from ifmem.runtime.following import acknowledge
from ifmem.runtime.forgetting import forget
from ifmem.runtime.keeping_captured import forget_captured
from ifmem.runtime.loading import load_rows, load_text
from ifmem.runtime.quarantining import release
from ifmem.runtime.querying import query
from ifmem.runtime.recalling import recall
from ifmem.runtime.remembering import list_findings, remember
from ifmem.runtime.space import Space
from ifmem.wire import agent_calls, calls


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
    "capture": agent_calls.CaptureCall,
    "forget_captured": agent_calls.ForgetCapturedCall,
    "release": agent_calls.ReleaseCall,
    "send": calls.SendCall,
    "receive": calls.ReceiveCall,
    "acknowledge_messages": calls.AcknowledgeMessagesCall,
    "follow_topic": calls.FollowTopicCall,
    "unfollow_topic": calls.UnfollowTopicCall,
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
    "watch": agent_calls.WatchCall,
    "shards": calls.Nothing,
    "workers": calls.Nothing,
    "status": calls.StatusCall,
    "doctor": calls.DoctorCall,
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
    agent_calls.CaptureCall: capture,
    agent_calls.ForgetCapturedCall: forget_captured,
    agent_calls.ReleaseCall: release,
    calls.SendCall: messaging.send,
    calls.ReceiveCall: messaging.receive,
    calls.AcknowledgeMessagesCall: messaging.acknowledge_messages,
    calls.FollowTopicCall: messaging.follow_topic,
    calls.UnfollowTopicCall: messaging.unfollow_topic,
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
    agent_calls.FindingCall: briefing.show_finding,
    agent_calls.NewestFindingsCall: briefing.newest_findings,
    agent_calls.FindingNamesCall: briefing.finding_names,
    agent_calls.BriefCall: briefing.brief,
}

LISTS: dict[str, Callable[[Space], Awaitable[Any]]] = {
    "shards": listing.list_shards,
    "workers": listing.list_workers,
}
