"""The room host.disk: see docs/ARCHITECTURE.md."""
