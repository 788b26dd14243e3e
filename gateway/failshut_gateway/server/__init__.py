"""The server: uvicorn, with bounds on what a stranger can occupy, and a watchdog."""
