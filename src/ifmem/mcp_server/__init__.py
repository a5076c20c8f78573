"""The MCP side: one server object over the memory's verbs, for stdio and for HTTP."""
