"""Routes that are easy to tell apart, with utterances enough for a first stage to prove itself."""

from __future__ import annotations

from itertools import product

from synaptoroute import Route

_FRAMES = (
    "{}",
    "please {}",
    "can you {}",
    "i would like to {}",
    "how do i {}",
    "help me {} now",
    "i need to {} today",
    "could somebody {} for me",
    "let me {} again",
)
_THINGS: dict[str, tuple[str, ...]] = {
    "weather": (
        "check the rain forecast",
        "see if it will snow",
        "know the temperature outside",
        "hear about the storm",
    ),
    "music": ("play some jazz", "skip this song", "start my rock playlist", "hear the new album"),
    "banking": ("show my account balance", "see my last payments", "read my bank statement", "check my savings"),
    "travel": (
        "book a flight to Oslo",
        "find a cheap plane ticket",
        "reserve a seat to Rome",
        "fly to Madrid on Friday",
    ),
    "cooking": ("bake sourdough bread", "cook a tomato soup", "roast a whole chicken", "find a pasta recipe"),
    "lights": (
        "turn off the kitchen lights",
        "dim the lamp",
        "switch the bedroom light on",
        "brighten the hall lights",
    ),
    "alarm": ("set an alarm for seven", "wake me up at dawn", "cancel my morning alarm", "snooze the alarm clock"),
    "mail": ("read my unread email", "reply to the last mail", "delete spam messages", "forward this email to Ann"),
    "car": ("change a flat tire", "refill the engine oil", "repair the brakes", "inflate the tires of my car"),
    "doctor": ("make a doctor appointment", "see a dentist", "refill my prescription", "call the nurse about a fever"),
    "shopping": (
        "add milk to the grocery list",
        "buy more toilet paper",
        "order new shoes",
        "return the jacket i bought",
    ),
    "sports": ("hear the football score", "know who won the match", "see the league table", "follow the tennis final"),
}


def first_stage_routes() -> list[Route]:
    """Twelve routes of 36 utterances each."""
    return [
        Route(name=name, utterances=[frame.format(thing) for frame, thing in product(_FRAMES, things)])
        for name, things in _THINGS.items()
    ]


#: Queries that are none of the utterances, and the route they belong to; None for none.
QUERIES: tuple[tuple[str, str | None], ...] = (
    ("will it rain and snow tomorrow, what is the forecast", "weather"),
    ("play my jazz playlist", "music"),
    ("show me the balance of my savings account", "banking"),
    ("book me a cheap flight to Madrid", "travel"),
    ("find a recipe for chicken soup", "cooking"),
    ("switch off the lights in the bedroom", "lights"),
    ("cancel the alarm at seven", "alarm"),
    ("delete the last email", "mail"),
    ("repair a flat tire of the car", "car"),
    ("make an appointment with the dentist", "doctor"),
    ("add shoes to my grocery list", "shopping"),
    ("who won the football final", "sports"),
    ("what is the meaning of life", None),
    ("my grandmother was born in a small village", None),
    ("explain quantum entanglement to me", None),
)
