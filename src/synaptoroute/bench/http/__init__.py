"""How fast a server answers over HTTP, beside the router in this process; a real server and a real load generator."""
