"""Points: totals of the past at some instants; any other is one of them, and what came after.

A total as of an instant had to read of each subscription the last word on it. With a point before
the instant it is the point, and of those whom a fact touches between the two, what they pay now
less what they paid there. `facts_between` finds these by the indexes; the copies that workers write
for followers are no facts, for what followers pay is the rule's price, which no point keeps. But
those that are written behind an end are: who has ended may follow at a price of its own until one.

A fact of an earlier instant than its recording makes the points from there on wrong: a start or an
end that is put into the past, an entry of a set whose worker comes late, a client who is deleted
with all that was ever theirs. Triggers note the instant, in the transaction of the fact; so a
point holds exactly as long as nothing that is seen says otherwise, and nobody waits for it.

Replaced: `facts_between`, `period_backdated`, the trigger `ledger_backdated` and the index
`ledger_facts`, in 0029. services/schema.sql has what stands now.
"""

from django.contrib.postgres.fields import ArrayField
from django.db import migrations, models
from django.db.models import F, Q

FACTS = """
CREATE FUNCTION facts_between(since timestamptz, until timestamptz)
RETURNS TABLE (at timestamptz, subscription_id bigint) LANGUAGE sql STABLE AS $$
    SELECT effective_at, subscription_id FROM services_ledgerentry
     WHERE effective_at > since AND effective_at <= until
       AND (price_state <> 'follows' OR change_id IS NULL OR ended_at <= recorded_at)
     UNION ALL
    SELECT entry.effective_at, entry.subscription_id
      FROM services_repricing work
      JOIN services_ledgerentry entry ON entry.change_id = work.change_id
     WHERE work.kind = 'rows' AND entry.price_state = 'follows'
       AND work.effective_at > since AND work.effective_at <= until
       AND entry.effective_at > since AND entry.effective_at <= until
     UNION ALL
    SELECT locked_until, subscription_id FROM services_ledgerentry
     WHERE locked_until > since AND locked_until <= until
     UNION ALL
    SELECT unpaid_since, subscription_id FROM services_ledgerentry
     WHERE unpaid_since > since AND unpaid_since <= until
     UNION ALL
    SELECT started_at, id FROM services_subscription
     WHERE started_at > since AND started_at <= until
     UNION ALL
    SELECT ended_at, id FROM services_subscription
     WHERE ended_at > since AND ended_at <= until
     UNION ALL
    SELECT started_at, subscription_id FROM services_ledgerentry
     WHERE price IS NULL AND started_at > since AND started_at <= until
     UNION ALL
    SELECT ended_at, subscription_id FROM services_ledgerentry
     WHERE price IS NULL AND ended_at > since AND ended_at <= until
$$;

-- The subscriptions of these facts. Its plan is made for few, whatever the instants are, and so
-- once a session.
CREATE FUNCTION touched_between(since timestamptz, until timestamptz) RETURNS SETOF bigint
LANGUAGE plpgsql STABLE ROWS 100
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    RETURN QUERY SELECT DISTINCT subscription_id FROM facts_between(since, until);
END $$;

-- Each subscription is asked whether a change for new subscriptions only keeps it: no entry says so
-- before a worker. So this is the first instant after `since` at which such a change comes, goes,
-- or lets go.
CREATE FUNCTION kept_from(since timestamptz, until timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE AS $$
    SELECT min(at)
      FROM services_cataloguevalue
     CROSS JOIN LATERAL (
           SELECT effective_at UNION ALL SELECT locked_until
            UNION ALL SELECT lower(span) FROM unnest(undone) span
            UNION ALL SELECT upper(span) FROM unnest(undone) span) instant (at)
     WHERE for_new_only AND effective_at <= until AND at > since AND at <= until
$$;
"""

BACKDATED = """
CREATE FUNCTION backdate(at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    noted text := current_setting('pricebook.backdated', true);
BEGIN
    -- Once a transaction, where it says no more than before.
    IF noted <> '' AND noted::timestamptz <= at THEN
        RETURN;
    END IF;
    INSERT INTO services_backdated (since) VALUES (at);
    PERFORM set_config('pricebook.backdated', at::text, true);
END $$;

CREATE FUNCTION ledger_backdated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM backdate(NEW.effective_at);
    RETURN NULL;
END $$;

CREATE TRIGGER ledger_backdated AFTER INSERT ON services_ledgerentry
FOR EACH ROW WHEN (NEW.effective_at < NEW.recorded_at
                   AND (NEW.price_state <> 'follows' OR NEW.change_id IS NULL
                        OR NEW.ended_at <= NEW.recorded_at))
EXECUTE FUNCTION ledger_backdated();

CREATE FUNCTION period_backdated() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    since timestamptz;
    first timestamptz;
BEGIN
    IF NEW.started_at IS DISTINCT FROM OLD.started_at THEN
        since := least(coalesce(OLD.started_at, '-infinity'),
                       coalesce(NEW.started_at, '-infinity'));
    END IF;
    IF NEW.ended_at IS DISTINCT FROM OLD.ended_at THEN
        since := least(since, OLD.ended_at, NEW.ended_at);
    END IF;
    IF since < book_clock() THEN
        -- Nobody has paid before the first entry; and what was recorded behind an end is judged by
        -- that end, whatever instant it is of.
        SELECT min(effective_at), least(since, min(effective_at) FILTER (
                                        WHERE recorded_at >= least(OLD.ended_at, NEW.ended_at)))
          INTO first, since
          FROM services_ledgerentry WHERE subscription_id = NEW.id;
        PERFORM backdate(greatest(first, since));
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER period_backdated AFTER UPDATE OF started_at, ended_at ON services_subscription
FOR EACH ROW WHEN (NEW.started_at IS DISTINCT FROM OLD.started_at
                   OR NEW.ended_at IS DISTINCT FROM OLD.ended_at)
EXECUTE FUNCTION period_backdated();

-- A client that is gone is in no total, and one that comes back is.
CREATE FUNCTION client_backdated() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    first timestamptz;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM backdate('-infinity');
        RETURN NULL;
    END IF;
    SELECT min(effective_at) INTO first FROM services_ledgerentry
     WHERE client_id IN (OLD.id, NEW.id) AND change_id IS NULL;
    IF first IS NOT NULL THEN
        PERFORM backdate(first);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER client_backdated AFTER INSERT OR DELETE OR UPDATE OF id ON clients_client
FOR EACH ROW EXECUTE FUNCTION client_backdated();

CREATE TRIGGER client_backdated_all AFTER TRUNCATE ON clients_client
FOR EACH STATEMENT EXECUTE FUNCTION client_backdated();
"""


def index(name: str, fields: list[str], condition: Q) -> migrations.AddIndex:
    return migrations.AddIndex(
        "ledgerentry", models.Index(name=name, fields=fields, condition=condition)
    )


class Migration(migrations.Migration):
    dependencies = [("services", "0027_in_force_inline"), ("clients", "__first__")]

    # Not to be reversed, as those before it.
    operations = [
        index(
            "ledger_facts",
            ["effective_at", "subscription_id"],
            ~Q(price_state="follows") | Q(change_id=None) | Q(ended_at__lte=F("recorded_at")),
        ),
        index(
            "ledger_lock_ends", ["locked_until", "subscription_id"], Q(locked_until__isnull=False)
        ),
        index(
            "ledger_left_start",
            ["started_at", "subscription_id"],
            Q(price=None, started_at__isnull=False),
        ),
        index(
            "ledger_left_end",
            ["ended_at", "subscription_id"],
            Q(price=None, ended_at__isnull=False),
        ),
        index(
            "ledger_unpaid_since",
            ["unpaid_since", "subscription_id"],
            Q(unpaid_since__isnull=False),
        ),
        migrations.CreateModel(
            "Point",
            [
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField(unique=True)),
                ("services", ArrayField(models.BigIntegerField())),
                ("plans", ArrayField(models.BigIntegerField())),
                ("followers", ArrayField(models.BigIntegerField())),
                ("others", ArrayField(models.BigIntegerField())),
                ("amounts", ArrayField(models.DecimalField(max_digits=20, decimal_places=2))),
                ("subscriptions", models.BigIntegerField()),
            ],
        ),
        migrations.CreateModel(
            "Backdated",
            [
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("since", models.DateTimeField()),
            ],
            options={
                "verbose_name_plural": "backdated",
                "indexes": [models.Index(name="backdated_since", fields=["since"])],
            },
        ),
        migrations.RunSQL([FACTS, BACKDATED]),
    ]
