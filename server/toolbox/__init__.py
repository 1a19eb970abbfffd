"""Tools that this server itself runs, if asked to: files and commands of its machine, and MCP servers.

mcp_config.py   `read_servers`: the MCP servers that a settings file names, in the form that editors share.
mcp_server.py   `McpServer`: an MCP server by its settings, started when it is needed and again after it has
                ended.
mcp_session.py  `McpSession`: one running MCP server, spoken to in lines of JSON-RPC over its standard
                streams.
names.py        `TOOL_NAMES`: the names of the built-in tools, for the settings, which know no more of them.
tool.py         `Tool`: what a model can call and this server runs; `ToolFailure`: why a call came to nothing.
toolbox.py      `Toolbox`: all tools that this server runs, by name.
builtin/        The built-in tools: what they do to files and commands, and the child process that does it.
"""
