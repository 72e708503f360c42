"""Events, the endpoints that they are sent to, and the log of that."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

import services.models.clock


class Migration(migrations.Migration):
    initial = True

    dependencies = [("price_changes", "0019_who_accepted"), ("services", "0057_end_put_off")]

    operations = [
        migrations.CreateModel(
            name="Derived",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("xact", models.BigIntegerField(db_default=0)),
                ("entry_id", models.BigIntegerField(db_default=0)),
                ("number", models.BigIntegerField(db_default=0)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="derived_is_one_row")
                ],
            },
        ),
        migrations.CreateModel(
            name="Endpoint",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=100, unique=True)),
                ("url", models.CharField(max_length=2000, verbose_name="URL")),
                (
                    "types",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=40),
                        blank=True,
                        default=list,
                        size=None,
                    ),
                ),
                ("secret", models.CharField(max_length=100)),
                (
                    "previous_secret",
                    models.CharField(blank=True, db_default="", default="", max_length=100),
                ),
                ("previous_secret_until", models.DateTimeField(blank=True, null=True)),
                (
                    "status",
                    models.CharField(
                        choices=[("enabled", "Enabled"), ("disabled", "Disabled")],
                        db_default="enabled",
                        default="enabled",
                        max_length=8,
                    ),
                ),
                ("disabled_at", models.DateTimeField(blank=True, null=True)),
                (
                    "disabled_reason",
                    models.CharField(blank=True, db_default="", default="", max_length=500),
                ),
                ("created_by", models.CharField(db_default="", default="", max_length=150)),
                ("created_at", models.DateTimeField(db_default=services.models.clock.Clock())),
                ("delivered_through", models.BigIntegerField(db_default=0, default=0)),
                ("next_attempt_at", models.DateTimeField(db_default=services.models.clock.Clock())),
                ("attempts", models.IntegerField(db_default=0, default=0)),
                ("failing_since", models.DateTimeField(blank=True, null=True)),
                ("claimed_until", models.DateTimeField(blank=True, null=True)),
                ("test_requested_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ["id"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("name", ""), _negated=True), name="endpoint_has_name"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["enabled", "disabled"])),
                        name="endpoint_status_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("disabled_at", None),
                                ("disabled_reason", ""),
                                ("status", "enabled"),
                            ),
                            models.Q(("disabled_at__isnull", False), ("status", "disabled")),
                            _connector="OR",
                        ),
                        name="endpoint_disabled_has_instant",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("previous_secret", ""), ("previous_secret_until", None)),
                            models.Q(
                                models.Q(("previous_secret", ""), _negated=True),
                                ("previous_secret_until__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="endpoint_previous_secret_has_end",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Event",
            fields=[
                ("number", models.BigIntegerField(primary_key=True, serialize=False)),
                ("webhook_id", models.CharField(max_length=40, unique=True)),
                ("type", models.CharField(max_length=40)),
                ("occurred_at", models.DateTimeField()),
                ("recorded_at", models.DateTimeField()),
                ("data", models.TextField()),
                ("xact", models.BigIntegerField()),
                ("entry_id", models.BigIntegerField()),
            ],
            options={
                "ordering": ["number"],
                "indexes": [
                    models.Index(fields=["type", "number"], name="event_type"),
                    models.Index(fields=["xact", "entry_id"], name="event_place"),
                    models.Index(fields=["recorded_at"], name="event_recorded"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Happening",
            fields=[
                (
                    "id",
                    models.BigIntegerField(
                        db_default=models.Func(
                            models.Value("services_ledgerentry_id_seq"),
                            function="nextval",
                            output_field=models.BigIntegerField(),
                        ),
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "xact",
                    models.BigIntegerField(
                        db_default=models.Func(
                            function="ledger_xact", output_field=models.BigIntegerField()
                        )
                    ),
                ),
                ("type", models.CharField(max_length=40)),
                ("occurred_at", models.DateTimeField()),
                ("recorded_at", models.DateTimeField(db_default=services.models.clock.Clock())),
                ("data", models.JSONField()),
            ],
            options={
                "indexes": [models.Index(fields=["xact", "id"], name="happening_feed")],
            },
        ),
        migrations.CreateModel(
            name="Attempt",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.BigIntegerField(null=True)),
                ("webhook_id", models.CharField(max_length=40)),
                ("type", models.CharField(max_length=40)),
                ("at", models.DateTimeField(db_default=services.models.clock.Clock())),
                ("status_code", models.SmallIntegerField(null=True)),
                ("error", models.CharField(db_default="", default="", max_length=500)),
                ("duration_ms", models.IntegerField()),
                ("answer", models.CharField(db_default="", default="", max_length=1000)),
                (
                    "endpoint",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="log",
                        to="events.endpoint",
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
                "indexes": [
                    models.Index(fields=["endpoint", "id"], name="attempt_of_endpoint"),
                    models.Index(fields=["at"], name="attempt_at"),
                ],
            },
        ),
    ]
