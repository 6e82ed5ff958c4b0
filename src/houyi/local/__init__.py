"""Commands that act on this machine: up, down, doctor, image build. They use the host's rooms and the SDK, never the server's or the agent's insides."""
