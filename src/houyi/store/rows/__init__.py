"""The room store.rows: see docs/ARCHITECTURE.md."""
