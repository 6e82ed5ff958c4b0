"""The room host.domxml: see docs/ARCHITECTURE.md."""
