"""MCP at `/mcp`: an agent's tools and resources, each an answer of our own REST API in a smaller shape.

What they ask goes through the same door as everybody's requests, as whoever sent the MCP request: so tokens, scopes,
limits, kept answers, freshness and receipts hold here too, without a line about them.
"""
