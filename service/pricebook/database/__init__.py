"""ENGINE: Django's PostgreSQL, except that nobody waits for ever for a database that is silent."""
