"""Names of a book that differ in case or blanks alone: those of an earlier release, or of SQL."""

from __future__ import annotations

from django.db import connection
from django.utils.translation import gettext_noop

LOOK_ALIKES = """
SELECT kind, array_agg(DISTINCT name ORDER BY name)
  FROM (SELECT 'services' AS kind, name FROM services_service
         UNION SELECT 'sources of subscriptions', source FROM services_subscription
         UNION SELECT 'sources of services', source FROM services_service
         UNION SELECT 'sources of plans', source FROM services_plan
         UNION SELECT 'sources of clients', source FROM clients_client) named
 WHERE name IS NOT NULL
 GROUP BY kind, alike(name) HAVING count(*) > 1
 ORDER BY kind, min(name)
"""


# The kinds of names, to be looked up.
KINDS = (
    gettext_noop("services"),
    gettext_noop("sources of subscriptions"),
    gettext_noop("sources of services"),
    gettext_noop("sources of plans"),
    gettext_noop("sources of clients"),
)


def look_alikes() -> list[tuple[str, list[str]]]:
    """Those that look alike, with what they are names of. One query, which reads all sources."""
    with connection.cursor() as cursor:
        cursor.execute(LOOK_ALIKES)
        return [(kind, list(names)) for kind, names in cursor.fetchall()]
