"""The room store.views: see docs/ARCHITECTURE.md."""
