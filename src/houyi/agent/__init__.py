"""The host's process: hears what is desired, makes it so on this machine, and says what it sees. It lives without the server for as long as it must."""
