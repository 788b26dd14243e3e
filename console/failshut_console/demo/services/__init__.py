"""Three small services, each a process of its own behind a guard, each telling the monitor how it does."""
