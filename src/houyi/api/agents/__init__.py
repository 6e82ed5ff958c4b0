"""The room api.agents: see docs/ARCHITECTURE.md."""
