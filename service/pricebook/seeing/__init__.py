"""The book as an operator sees it run: probes, metrics, a line in the log for each request.

/livez, /readyz, /metrics ──▶ ProbesMiddleware ──▶ Look ──▶ a session of its own ──▶ PostgreSQL
any other request ──────────▶ AccessMiddleware ──▶ a line in the log, a time in `measured`
a task of a worker ─────────▶ task_times ────────▶ a time in `measured`
"""

# The paths of the probes: in threads of their own, also where Django is not ready yet (asgi.py).
PATHS = ("/livez", "/readyz", "/metrics")
