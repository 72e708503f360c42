"""Corrections of prices that have been paid, and their entries in the feed and in histories.

A correction lies above all other facts: readers of the past look for it last, so nothing that
writes, moves or judges prices has to know of it. `services_correctedentry` has what it adds to the
ledger for programs that read prices by (effective instant, number). A late worker writes behind it
what came before: then the trigger `ledger_corrected` says once more what the correction says.

Replaces `entries_of`, `entries_behind` and `book_clock` (0030), `facts_between` (0029), and the
view `services_wholeledger`, which gets a column.

Replaced: the condition of the trigger `ledger_corrected`, in 0062. services/schema.sql has what
stands now.
"""

from importlib import import_module

from django.db import migrations, models
from django.db.models import F, Func, Q, Value

import services.models.exact_fields
from services.bounds import HIGHEST_PRICE
from services.models.clock import Clock

moved = import_module("services.migrations.0030_moved_followers")
periods = import_module("services.migrations.0029_said_when_ended")
replaced = periods.replaced

OWN = replaced(
    moved.OWN, ("source, external_id\n", "source, external_id, NULL::bigint AS correction_id\n")
)
EXPANDED = replaced(
    moved.EXPANDED, ("AS external_id\n", "AS external_id, NULL::bigint AS correction_id\n")
)
CORRECTED = replaced(
    moved.OWN,
    ("source, external_id\n", "source, external_id, correction_id\n"),
    ("services_ledgerentry", "services_correctedentry"),
)
READ = f"""
CREATE OR REPLACE VIEW services_wholeledger AS
    {OWN} UNION ALL {EXPANDED.format(items=moved.ALL)} UNION ALL {CORRECTED};

-- Those of one subscription, in whichever services and plans it was, without corrections.
CREATE OR REPLACE FUNCTION entries_of(subscription bigint) RETURNS SETOF services_wholeledger
LANGUAGE sql STABLE ROWS 10 AS $$
    {OWN} WHERE subscription_id = subscription
     UNION ALL {EXPANDED.format(items=moved.ITS)}
$$;

-- So many of those behind a place of the feed, of transactions before another one.
CREATE OR REPLACE FUNCTION entries_behind(
    place_xact bigint, place_id bigint, before_xact bigint, entries integer
) RETURNS SETOF services_wholeledger LANGUAGE sql STABLE ROWS 100 AS $$
    SELECT * FROM (
        ({OWN} WHERE (xact, id) > (place_xact, place_id) AND xact < before_xact
          ORDER BY xact, id LIMIT entries)
         UNION ALL
        ({EXPANDED.format(items=moved.BEHIND)})
         UNION ALL
        ({CORRECTED} WHERE (xact, id) > (place_xact, place_id) AND xact < before_xact
          ORDER BY xact, id LIMIT entries)) entry
     ORDER BY xact, id LIMIT entries
$$;
"""  # noqa: S608 - constants

CLOCK = replaced(
    moved.CLOCK,
    (
        "(SELECT recorded_at FROM services_movedfollowers ORDER BY id DESC LIMIT 1))))",
        """(SELECT recorded_at FROM services_movedfollowers ORDER BY id DESC LIMIT 1),
                 (SELECT recorded_at FROM services_correctedentry ORDER BY id DESC LIMIT 1))))""",
    ),
)
FACTS = replaced(
    periods.FACTS,
    (
        "\n$$;",
        """
     UNION ALL
    SELECT correction.since, correction.subscription_id FROM services_correction correction
     WHERE correction.since > facts_between.since AND correction.since <= facts_between.until
     UNION ALL
    SELECT correction.until, correction.subscription_id FROM services_correction correction
     WHERE correction.until > facts_between.since AND correction.until <= facts_between.until
$$;""",
    ),
)

KEPT = """
CREATE TRIGGER correction_append_only BEFORE UPDATE OR DELETE ON services_correction
FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only();
CREATE TRIGGER correction_not_truncated BEFORE TRUNCATE ON services_correction
FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only();
CREATE TRIGGER corrected_append_only BEFORE UPDATE OR DELETE ON services_correctedentry
FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only();
CREATE TRIGGER corrected_not_truncated BEFORE TRUNCATE ON services_correctedentry
FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only();

CREATE TRIGGER book_changed AFTER INSERT ON services_correction
FOR EACH STATEMENT EXECUTE FUNCTION book_changed();
CREATE FUNCTION correction_backdated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM backdate(NEW.since);
    RETURN NULL;
END $$;
CREATE TRIGGER correction_backdated AFTER INSERT ON services_correction
FOR EACH ROW EXECUTE FUNCTION correction_backdated();
"""
COLUMNS = """(subscription_id, client_id, service_id, plan_id, price, price_state, locked_until,
            started_at, ended_at, effective_at, recorded_at, author, correction_id)"""
AGAIN = f"""
CREATE FUNCTION ledger_corrected() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Asked of every late entry, so cheaply.
    IF NOT EXISTS (SELECT FROM services_correction WHERE subscription_id = NEW.subscription_id) THEN
        RETURN NULL;
    END IF;
    INSERT INTO services_correctedentry
           {COLUMNS}
    SELECT NEW.subscription_id, NEW.client_id, NEW.service_id, NEW.plan_id, price, NEW.price_state,
           NEW.locked_until, NEW.started_at, NEW.ended_at, NEW.effective_at, NEW.recorded_at,
           author, id
      FROM services_correction
     WHERE subscription_id = NEW.subscription_id
       AND since <= NEW.effective_at AND until > NEW.effective_at
     ORDER BY id DESC LIMIT 1;
    RETURN NULL;
END $$;
-- For a set only where a row was written since it came (`late_rows`): none is waiting while a
-- correction is made, so it comes after all of them, unless it comes in that very moment.
CREATE TRIGGER ledger_corrected AFTER INSERT ON services_ledgerentry
FOR EACH ROW WHEN (NEW.effective_at < NEW.recorded_at AND NEW.price IS NOT NULL
                   AND (NEW.price_state <> 'negotiated' OR NEW.change_id IS NULL
                        OR current_setting('pricebook.late_row', true) = 'on'))
EXECUTE FUNCTION ledger_corrected();

CREATE FUNCTION moved_corrected() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM services_correction WHERE until > NEW.effective_at) THEN
        RETURN NULL;
    END IF;
    INSERT INTO services_correctedentry
           {COLUMNS}
    SELECT DISTINCT ON (correction.subscription_id)
           correction.subscription_id, client_id, NEW.service_id, NEW.plan_id, correction.price,
           'follows', NULL::timestamptz, started_at, ended_at, NEW.effective_at, NEW.recorded_at,
           author, correction.id
      FROM services_correction correction
      JOIN services_subscription subscription ON subscription.id = correction.subscription_id
     WHERE correction.subscription_id = ANY (NEW.subscription_ids)
       AND since <= NEW.effective_at AND until > NEW.effective_at
     ORDER BY correction.subscription_id, correction.id DESC;
    RETURN NULL;
END $$;
CREATE TRIGGER moved_corrected AFTER INSERT ON services_movedfollowers
FOR EACH ROW WHEN (NEW.effective_at < NEW.recorded_at) EXECUTE FUNCTION moved_corrected();
"""  # noqa: S608 - constants


def price(**options: object) -> models.Field:
    return services.models.exact_fields.ExactDecimalField(
        decimal_places=2, max_digits=12, **options
    )


class Migration(migrations.Migration):
    dependencies = [("services", "0053_request_ids")]

    # Not to be reversed, as those before it.
    operations = [
        migrations.CreateModel(
            "Correction",
            [
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("subscription_id", models.BigIntegerField()),
                ("since", models.DateTimeField()),
                ("until", models.DateTimeField()),
                ("price", price()),
                ("reason", models.CharField(max_length=200)),
                ("author", models.CharField(max_length=150)),
                ("recorded_at", models.DateTimeField(db_default=Clock())),
            ],
            options={
                "indexes": [
                    models.Index(name="correction_subscription", fields=["subscription_id", "id"]),
                    models.Index(name="correction_since", fields=["since", "subscription_id"]),
                    models.Index(name="correction_until", fields=["until", "subscription_id"]),
                ],
                "constraints": [
                    models.CheckConstraint(
                        name="correction_of_the_past",
                        condition=Q(since__lt=F("until"), until__lte=F("recorded_at")),
                    ),
                    models.CheckConstraint(
                        name="correction_price_not_negative",
                        condition=Q(price__gte=0, price__lte=HIGHEST_PRICE),
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            "CorrectedEntry",
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
                ("subscription_id", models.BigIntegerField()),
                ("client_id", models.BigIntegerField()),
                ("service_id", models.BigIntegerField()),
                ("plan_id", models.BigIntegerField()),
                ("price", price(null=True)),
                (
                    "price_state",
                    models.CharField(
                        max_length=10,
                        choices=[
                            ("follows", "Follows"),
                            ("locked", "Locked"),
                            ("negotiated", "Negotiated"),
                        ],
                    ),
                ),
                ("locked_until", models.DateTimeField(null=True)),
                ("started_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                ("unpaid_since", models.DateTimeField(null=True)),
                ("period_only", models.BooleanField(db_default=False)),
                ("source", models.CharField(max_length=50, null=True)),
                ("external_id", models.CharField(max_length=50, null=True)),
                ("effective_at", models.DateTimeField(db_default=Clock())),
                ("recorded_at", models.DateTimeField(db_default=Clock())),
                ("change_id", models.BigIntegerField(null=True, verbose_name="price change")),
                ("author", models.CharField(db_default="", max_length=150)),
                ("correction_id", models.BigIntegerField()),
                (
                    "request_id",
                    models.CharField(
                        max_length=100,
                        null=True,
                        db_default=Func(
                            function="ledger_request", output_field=models.CharField(max_length=100)
                        ),
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "corrected entries",
                "ordering": ["id"],
                "abstract": False,
                "indexes": [
                    models.Index(name="corrected_feed", fields=["xact", "id"]),
                    models.Index(name="corrected_subscription", fields=["subscription_id", "id"]),
                ],
            },
        ),
        migrations.RunSQL([READ, CLOCK, FACTS, KEPT, AGAIN]),
    ]
