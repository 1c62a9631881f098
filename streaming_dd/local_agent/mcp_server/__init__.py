"""For coding agents: what the page shows, offered to an MCP client over stdio and HTTP. Read only, bounded answers.

It asks an agent's HTTP API like the page does, be it the agent of this process or one that runs already. It needs the
extra `mcp` and is imported by `streaming-dd agent --mcp` alone. No state but the address.
"""
