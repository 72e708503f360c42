"""Followers whom a change of the catalogue has moved: a row for each chunk, and none for each row.

The values in force decide what a follower pays, not an entry; an entry of it is a copy, for the
feed, the history and the rows of the change. One of its own for each follower made up most of what
a change had to write, and of what the ledger had to keep. They differ in two things alone: whose it
is, and its number. So a worker writes these two as arrays, and what is the same for all once.

`services_wholeledger` has the entries that this stands for beside all others, and `entries_of`
those of one subscription. An entry says whose it was and its period as its subscription's own entry
before it does, for nothing else is written of one without an entry.

Replaces `subscription_written` (0029), `settle_kept` (0024) and `book_clock` (0019).

Replaced: `subscription_written`, in 0031, `entries_of`, `entries_behind`, `book_clock` and the view
`services_wholeledger`, in 0054. services/schema.sql has what stands now.
"""

from importlib import import_module

from django.contrib.postgres.fields import ArrayField
from django.db import migrations, models
from django.db.models import Func, Value

from services.models.clock import Clock

ENTER = import_module("services.migrations.0024_kept_and_held").ENTER
WRITTEN = import_module("services.migrations.0029_said_when_ended").WRITTEN
replaced = import_module("services.migrations.0029_said_when_ended").replaced

# In the order of the columns of `services_ledgerentry`. `items`: of each entry what is said of it
# by the row that it stands in.
EXPANDED = """
    SELECT item.entry_id AS id, item.xact, item.subscription_id,
           coalesce(own.client_id, now.client_id) AS client_id,
           item.service_id, item.plan_id, item.price,
           'follows'::varchar(10) AS price_state, NULL::timestamptz AS locked_until,
           item.effective_at, item.recorded_at, item.change_id, ''::varchar(150) AS author,
           coalesce(own.started_at, now.started_at) AS started_at,
           CASE WHEN own.started_at IS NULL THEN now.ended_at ELSE own.ended_at END AS ended_at,
           NULL::timestamptz AS unpaid_since, false AS period_only,
           NULL::varchar(50) AS source, NULL::varchar(50) AS external_id
      FROM ({items}) item
      LEFT JOIN LATERAL (
           SELECT client_id, started_at, ended_at FROM services_ledgerentry
            WHERE subscription_id = item.subscription_id AND id < item.entry_id
            ORDER BY id DESC LIMIT 1) own ON true
      LEFT JOIN services_subscription now
        ON own.started_at IS NULL AND now.id = item.subscription_id
"""
OWN = """
    SELECT id, xact, subscription_id, client_id, service_id, plan_id, price, price_state,
           locked_until, effective_at, recorded_at, change_id, author, started_at, ended_at,
           unpaid_since, period_only, source, external_id
      FROM services_ledgerentry
"""
SAID = "xact, service_id, plan_id, price, effective_at, recorded_at, change_id"
ALL = f"""
           SELECT {SAID}, entry_id, subscription_id
             FROM services_movedfollowers, unnest(entry_ids, subscription_ids)
                  item (entry_id, subscription_id)"""  # noqa: S608 - constants
ITS = f"""
           SELECT {SAID}, entry_ids[nth] AS entry_id, subscription AS subscription_id
             FROM (SELECT DISTINCT service_id, plan_id FROM services_ledgerentry
                    WHERE subscription_id = subscription) pair
             JOIN services_movedfollowers USING (service_id, plan_id),
                  array_position(subscription_ids, subscription) nth
            WHERE subscription BETWEEN first_id AND last_id AND nth IS NOT NULL"""  # noqa: S608
# The first row may have been read in part, or to its last entry; of those behind it no more than
# have so many entries.
BEHIND = f"""
           SELECT {SAID}, entry_id, subscription_id
             FROM (SELECT *, first_value(number) OVER place AS of_first, coalesce(
                          sum(number) OVER (place ROWS BETWEEN UNBOUNDED PRECEDING
                                                           AND 1 PRECEDING), 0) AS earlier
                     FROM (SELECT * FROM services_movedfollowers
                            WHERE (xact, id) > (place_xact, place_id) AND xact < before_xact
                            ORDER BY xact, id LIMIT entries + 1) next
                   WINDOW place AS (ORDER BY xact, id)) next,
                  unnest(entry_ids, subscription_ids) item (entry_id, subscription_id)
            WHERE earlier - of_first < entries AND (xact, entry_id) > (place_xact, place_id)
            ORDER BY xact, entry_id LIMIT entries"""  # noqa: S608 - constants

READ = f"""
CREATE VIEW services_wholeledger AS {OWN} UNION ALL {EXPANDED.format(items=ALL)};

-- Those of one subscription, in whichever services and plans it was.
CREATE FUNCTION entries_of(subscription bigint) RETURNS SETOF services_wholeledger
LANGUAGE sql STABLE ROWS 10 AS $$
    {OWN} WHERE subscription_id = subscription
     UNION ALL {EXPANDED.format(items=ITS)}
$$;

-- So many of those behind a place of the feed, of transactions before another one.
CREATE FUNCTION entries_behind(
    place_xact bigint, place_id bigint, before_xact bigint, entries integer
) RETURNS SETOF services_wholeledger LANGUAGE sql STABLE ROWS 100 AS $$
    SELECT * FROM (
        ({OWN} WHERE (xact, id) > (place_xact, place_id) AND xact < before_xact
          ORDER BY xact, id LIMIT entries)
         UNION ALL
        ({EXPANDED.format(items=BEHIND)})) entry
     ORDER BY xact, id LIMIT entries
$$;
"""  # noqa: S608 - constants

# The newest record may be such a row.
CLOCK = """
CREATE OR REPLACE FUNCTION book_clock(machine timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE AS $$
    SELECT greatest(machine, coalesce(
        (SELECT floor FROM services_clockfloor WHERE life = pg_postmaster_start_time()),
        greatest((SELECT recorded_at FROM services_ledgerentry ORDER BY id DESC LIMIT 1),
                 (SELECT recorded_at FROM services_movedfollowers ORDER BY id DESC LIMIT 1))))
$$;
"""
KEPT = """
CREATE TRIGGER moved_append_only BEFORE UPDATE OR DELETE ON services_movedfollowers
FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only();
CREATE TRIGGER moved_not_truncated BEFORE TRUNCATE ON services_movedfollowers
FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only();
"""

SETTLE = replaced(
    ENTER[ENTER.index("CREATE FUNCTION settle_kept") :],
    ("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"),
    (
        """            SELECT price INTO kept.price FROM services_ledgerentry
             WHERE subscription_id = row.id AND NOT period_only
""",
        """            SELECT price INTO kept.price FROM entries_of(row.id)
             WHERE NOT period_only
""",
    ),
)
# No entry of its own says what a follower pays.
WRITTEN = replaced(
    WRITTEN,
    (
        "                   coalesce(word.price, old_price) AS old_price,\n",
        """                   CASE WHEN (word.price_state, old_state) = ('follows', 'follows')
                        THEN old_price ELSE coalesce(word.price, old_price) END AS old_price,
""",
    ),
)


class Migration(migrations.Migration):
    dependencies = [("services", "0029_said_when_ended")]

    # Not to be reversed, as those before it.
    operations = [
        migrations.CreateModel(
            "MovedFollowers",
            [
                (
                    "id",
                    models.BigIntegerField(
                        primary_key=True,
                        serialize=False,
                        db_default=Func(
                            Value("services_ledgerentry_id_seq"),
                            function="nextval",
                            output_field=models.BigIntegerField(),
                        ),
                    ),
                ),
                (
                    "xact",
                    models.BigIntegerField(
                        db_default=Func(
                            function="ledger_xact", output_field=models.BigIntegerField()
                        )
                    ),
                ),
                ("change_id", models.BigIntegerField()),
                ("service_id", models.BigIntegerField()),
                ("plan_id", models.BigIntegerField()),
                ("price", models.DecimalField(decimal_places=2, max_digits=12)),
                ("old_price", models.DecimalField(decimal_places=2, max_digits=12)),
                ("effective_at", models.DateTimeField()),
                ("recorded_at", models.DateTimeField(db_default=Clock())),
                ("number", models.IntegerField()),
                ("first_id", models.BigIntegerField()),
                ("last_id", models.BigIntegerField()),
                ("subscription_ids", ArrayField(models.BigIntegerField())),
                ("entry_ids", ArrayField(models.BigIntegerField())),
            ],
            options={
                "verbose_name_plural": "moved followers",
                "indexes": [
                    models.Index(name="moved_feed", fields=["xact", "id"]),
                    models.Index(name="moved_by_change", fields=["change_id", "last_id"]),
                    models.Index(
                        name="moved_of_pair", fields=["service_id", "plan_id", "effective_at"]
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            "WholeLedger",
            [],
            options={"managed": False, "ordering": ["id"], "db_table": "services_wholeledger"},
        ),
        migrations.RunSQL([READ, CLOCK, KEPT, SETTLE, WRITTEN]),
    ]
