"""The room host.probe: see docs/ARCHITECTURE.md."""
