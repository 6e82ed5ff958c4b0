"""The hosts' door: a listener of its own with mutual TLS, since no ASGI server shows the client's certificate. One websocket a host."""
