"""The correction loop: what people say about decisions, what could be changed, what that would do; a person decides."""

from synaptoroute.corrections.loop import Corrections
from synaptoroute.corrections.records import (
    Check,
    Decided,
    Effect,
    Feedback,
    FeedbackState,
    Flip,
    Option,
    Outcome,
    Proposal,
    RouteEdit,
)
from synaptoroute.corrections.storage import FeedbackStorage, feedback_storage_of

__all__ = [
    "Check",
    "Corrections",
    "Decided",
    "Effect",
    "Feedback",
    "FeedbackState",
    "FeedbackStorage",
    "Flip",
    "Option",
    "Outcome",
    "Proposal",
    "RouteEdit",
    "feedback_storage_of",
]
