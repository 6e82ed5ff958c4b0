"""The room host.net: see docs/ARCHITECTURE.md."""
