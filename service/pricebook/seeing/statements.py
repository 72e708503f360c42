"""The statements of the probes and of the metrics: few rows each, by indexes where a table grows.

Ages are by the book's clock, in seconds. None of them reads the subscriptions.
"""

from __future__ import annotations

from pricebook.kit.named_statements import NamedStatement
from services.ledger.seals.blocks import COUNTED, UNSEALED_ROWS
from services.lives import STANDING as STANDING

# The life of the database: which server wrote it, and how often it went back or was promoted. On a
# standby the timeline is that of the last checkpoint.
LIFE = """
SELECT (SELECT system_identifier FROM pg_control_system())::text,
       CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END,
       pg_is_in_recovery()
"""
# How far the WAL is that a replica can have: on the primary. And how far it is, there.
WAL = "SELECT pg_current_wal_flush_lsn()::text, extract(epoch FROM clock_timestamp())::float8"
REPLICA = """
SELECT pg_last_wal_replay_lsn()::text,
       extract(epoch FROM pg_last_xact_replay_timestamp())::float8, pg_is_in_recovery()
"""
MIGRATIONS = "SELECT app, name FROM django_migrations"
# A change that the brake holds is not due; nor is a paused repricing.
DUE = """
SELECT kind, count(*), coalesce(extract(epoch FROM (SELECT book_now()) - min(since)), 0)::float8
  FROM (
    SELECT 'changes' AS kind, effective_at AS since FROM price_changes_pricechange
     WHERE status = 'scheduled' AND effective_at <= (SELECT book_now())
       AND NOT brake_holds(approved_at, effective_at)
     UNION ALL
    SELECT 'repricings', requested_at FROM services_repricing
     WHERE finished_at IS NULL AND paused_at IS NULL
     UNION ALL
    SELECT 'locks', until FROM services_lockend WHERE until <= (SELECT book_now())
     UNION ALL
    SELECT 'jobs', asked_at FROM services_job WHERE status IN ('waiting', 'running')
     UNION ALL
    SELECT 'happenings', recorded_at FROM events_happening
  ) due
 GROUP BY kind
"""
NOW = "SELECT extract(epoch FROM book_clock())::float8"
LAST_CHECK = """
SELECT at, author, counts, extract(epoch FROM book_clock() - at)::float8
  FROM services_keptbookcheck ORDER BY id DESC LIMIT 1
"""
# By the change; 0: repricings that nobody has decided, which look at a pair again.
RUNNING = """
SELECT coalesce(change_id, 0),
       sum(subscriptions)::float8,
       sum(subscriptions - coalesce(waiting, 0))::float8,
       sum(failed)::float8,
       coalesce(extract(epoch FROM (SELECT book_now()) - min(planned_at)), 0)::float8
  FROM services_repricing work
  LEFT JOIN LATERAL (
    SELECT sum(greatest(0, step.subscriptions - step.checked)) AS waiting
      FROM services_repricingstep step
     WHERE step.repricing_id = work.id AND step.kind = 'price') steps ON true
 WHERE finished_at IS NULL AND planned_at IS NOT NULL
 GROUP BY 1 ORDER BY 1 LIMIT 20
"""
# `stuck`: it came a minute ago, nothing holds it, and no worker has begun it.
CHANGES = """
SELECT status, count(*),
       count(*) FILTER (WHERE status = 'scheduled' AND (
           EXISTS (SELECT FROM price_changes_brake WHERE released_at IS NULL)
           OR brake_holds(approved_at, effective_at))) AS braked,
       count(*) FILTER (WHERE status = 'scheduled'
           AND effective_at <= (SELECT book_now()) - interval '1 minute'
           AND NOT brake_holds(approved_at, effective_at)) AS stuck
  FROM price_changes_pricechange
 WHERE status IN ('planned', 'scheduled', 'held', 'applying', 'paused')
 GROUP BY status
"""
BRAKE = "SELECT count(*) FROM price_changes_brake WHERE released_at IS NULL"
# Transactions of every database of the server hold the feed up, also prepared ones. Without
# pg_read_all_stats others' names and ages are not to be seen.
FEED_HOLDER = """
SELECT coalesce(datname, ''), coalesce(usename, ''), coalesce(application_name, ''),
       extract(epoch FROM clock_timestamp() - xact_start)::float8
  FROM (
    SELECT datname, usename, application_name, xact_start
      FROM pg_locks held JOIN pg_stat_activity session ON session.pid = held.pid
     WHERE held.locktype = 'transactionid' AND held.mode = 'ExclusiveLock' AND held.granted
       AND backend_type IS DISTINCT FROM 'autovacuum worker'
     UNION ALL
    SELECT database, owner, 'prepared transaction', prepared FROM pg_prepared_xacts
  ) writer
 WHERE xact_start IS NOT NULL
 ORDER BY xact_start LIMIT 1
"""
FEED_WAITING = """
SELECT (SELECT count(*) FROM (SELECT FROM services_ledgerentry
                               WHERE xact >= server.oldest LIMIT 100000) entries)
     + (SELECT count(*) FROM (SELECT FROM services_movedfollowers
                               WHERE xact >= server.oldest LIMIT 100000) chunks)
  FROM (SELECT ledger_oldest() AS oldest) server
"""
WEBHOOKS = """
SELECT endpoint.name,
       CASE WHEN status = 'disabled' THEN 'disabled'
            WHEN failing_since IS NOT NULL THEN 'failing' ELSE 'delivering' END,
       greatest(0, coalesce((SELECT number FROM events_derived), 0) - delivered_through)::float8,
       coalesce(extract(epoch FROM (SELECT book_now()) - failing_since), 0)::float8
  FROM events_endpoint endpoint
 ORDER BY endpoint.id
"""
FOLDS = """
SELECT 'subtotals', count(*) - count(DISTINCT (service_id, plan_id)) FROM services_subtotal
 UNION ALL
SELECT 'boundaries', count(*) FROM services_paidboundary WHERE at <= (SELECT book_now())
"""
HOT = """
SELECT n_tup_upd, n_tup_hot_upd, n_live_tup, n_dead_tup FROM pg_stat_user_tables
 WHERE relid = 'services_subscription'::regclass
"""
SESSIONS = """
SELECT count(*), current_setting('max_connections')::int FROM pg_stat_activity
 WHERE backend_type = 'client backend'
"""
NEWEST_BLOCK = "coalesce((SELECT {} FROM services_sealedblock ORDER BY number DESC LIMIT 1), 0)"
UNSEALED = UNSEALED_ROWS % {
    "xact": NEWEST_BLOCK.format("last_xact"),
    "id": NEWEST_BLOCK.format("last_id"),
    "most": COUNTED,
}
SEALED = f"SELECT {NEWEST_BLOCK.format('number')}"

PROBE, SCRAPE = "GET /readyz", "GET /metrics"
PURPOSES = (
    ("life of the database, for probes", "which server wrote it, and its timeline", PROBE, LIFE),
    ("lives of the database", "whether it was restored and nobody looked", PROBE, STANDING),
    ("applied migrations", "compared with those of the code", PROBE, MIGRATIONS),
    ("time of the book, for ages", "the clock of the probes", PROBE, NOW),
    ("last kept book check", "when it was, and whether it differed", PROBE, LAST_CHECK),
    ("due work", "how much is due, and since when", SCRAPE, DUE),
    ("number of blocks that are sealed", "that of the newest one", SCRAPE, SEALED),
    (
        "rows that wait to be sealed",
        "up to 10,000 rows of each table, by indexes",
        SCRAPE,
        UNSEALED,
    ),
    ("running changes", "rows that are done, of all", SCRAPE, RUNNING),
    ("changes by status", "those that are open, held, braked and stuck", SCRAPE, CHANGES),
    ("whether the brake is on", "one row, if it is", SCRAPE, BRAKE),
    ("who holds the feed up", "the oldest transaction that writes", SCRAPE, FEED_HOLDER),
    ("entries that the feed holds back", "up to 100,000 of each kind", SCRAPE, FEED_WAITING),
    ("webhooks, how far they are", "a row for each endpoint, of 100", SCRAPE, WEBHOOKS),
    ("folds that wait", "rows of the subtotals that could be merged", SCRAPE, FOLDS),
    ("updates that touch no index", "PostgreSQL's own counters", SCRAPE, HOT),
    ("sessions of the server", "how many there are, of how many", SCRAPE, SESSIONS),
)


def named_statements() -> list[NamedStatement]:
    """All named statements of probes and metrics. No query."""
    return [NamedStatement(*named[:3], named[3]) for named in PURPOSES]
