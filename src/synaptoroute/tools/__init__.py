"""Which of many tools serve a query: ``ToolRouter``, over tools in whatever form they come."""

from synaptoroute.tools.openapi import Operation, tools_from_openapi
from synaptoroute.tools.router import SelectOptions, ToolMatch, ToolRouter
from synaptoroute.tools.tool import Tool, as_tool, as_tools

__all__ = ["Operation", "SelectOptions", "Tool", "ToolMatch", "ToolRouter", "as_tool", "as_tools", "tools_from_openapi"]
