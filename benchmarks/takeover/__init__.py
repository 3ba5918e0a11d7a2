"""`carousel bench takeover`: what it costs to go on in a session that another process has held until now."""
