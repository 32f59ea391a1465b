"""What code says about itself: functions, pydantic models and JSON schemas, all as one ``Described``."""

from synaptoroute.describing.described import Described, Parameter
from synaptoroute.describing.functions import describe_function
from synaptoroute.describing.names import words_of
from synaptoroute.describing.schemas import describe_model, describe_schema

__all__ = ["Described", "Parameter", "describe_function", "describe_model", "describe_schema", "words_of"]
