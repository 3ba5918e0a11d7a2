"""What keeps sessions: implementations of `service.sessions.ports.Store`."""
