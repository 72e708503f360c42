"""Jobs: bulk writes that workers do, with their bodies and results."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

import services.models.clock


class Migration(migrations.Migration):
    dependencies = [
        ("services", "0054_corrections"),
    ]

    operations = [
        migrations.CreateModel(
            name="Job",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("clients", "Clients"),
                            ("services", "Services"),
                            ("plans", "Plans"),
                            ("subscriptions", "Subscriptions"),
                            ("import", "Import"),
                        ],
                        max_length=13,
                    ),
                ),
                ("author", models.CharField(max_length=150)),
                ("skip", models.BooleanField(verbose_name="refused lines are skipped")),
                ("dry_run", models.BooleanField()),
                ("media_type", models.CharField(db_default="", max_length=30)),
                (
                    "sha256",
                    models.CharField(
                        db_default="", max_length=64, verbose_name="SHA-256 of the body"
                    ),
                ),
                ("size", models.BigIntegerField(db_default=0, verbose_name="bytes of the body")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("running", "Running"),
                            ("done", "Done"),
                            ("refused", "Refused"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                        ],
                        db_default="waiting",
                        max_length=9,
                    ),
                ),
                ("asked_at", models.DateTimeField(db_default=services.models.clock.Clock())),
                ("started_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                ("attempts", models.SmallIntegerField(db_default=0)),
                ("chunks_done", models.IntegerField(db_default=0)),
                ("lines", models.BigIntegerField(null=True, verbose_name="lines that it has")),
                (
                    "lines_done",
                    models.BigIntegerField(db_default=0, verbose_name="lines that have a result"),
                ),
                ("counts", models.JSONField(default=dict, verbose_name="lines by outcome")),
                ("error", models.JSONField(null=True)),
                (
                    "undoes",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="undone_by",
                        to="services.job",
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="JobPiece",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.IntegerField()),
                ("content", models.BinaryField()),
                (
                    "job",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="pieces",
                        to="services.job",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="JobResult",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("first_line", models.BigIntegerField()),
                ("last_line", models.BigIntegerField()),
                ("counts", models.JSONField(verbose_name="lines by outcome")),
                ("results", models.TextField()),
                (
                    "left_as",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.IntegerField(), default=list, size=None
                    ),
                ),
                ("states", models.JSONField(default=dict)),
                (
                    "job",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="results",
                        to="services.job",
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("status__in", ["waiting", "running"])),
                fields=["id"],
                name="job_due",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["author", "id"], name="job_of_author"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["finished_at"], name="job_finished"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("kind", "import")), fields=["sha256"], name="job_of_file"
            ),
        ),
        migrations.AddConstraint(
            model_name="job",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("finished_at", None), ("status__in", ["waiting", "running"])),
                    models.Q(
                        models.Q(("status__in", ["waiting", "running"]), _negated=True),
                        ("finished_at__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="job_finished_has_instant",
            ),
        ),
        migrations.AddConstraint(
            model_name="jobpiece",
            constraint=models.UniqueConstraint(fields=("job", "number"), name="job_piece_once"),
        ),
        migrations.AddConstraint(
            model_name="jobresult",
            constraint=models.UniqueConstraint(
                fields=("job", "first_line"), name="job_result_once"
            ),
        ),
    ]
