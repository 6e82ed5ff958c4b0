"""Commands for people, one file a noun, over the public API only: whatever the CLI can do, anybody can do."""
