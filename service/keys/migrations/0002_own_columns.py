"""Number, scopes, maker, second secret and last use of a key.

The number is a column with a sequence of its own, as the primary key is a text that has to stay:
answers to repeated requests are stored under it.
"""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models import Func, Q, Value

TABLE = "rest_framework_api_key_apikey"
NUMBERS = f"{TABLE}_number_seq"


def name_of_author():
    return models.CharField(db_default="", editable=False, max_length=150)


class Migration(migrations.Migration):
    dependencies = [
        ("rest_framework_api_key", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RunSQL(f"CREATE SEQUENCE {NUMBERS}", f"DROP SEQUENCE {NUMBERS}"),
        migrations.AddField(
            "apikey",
            "number",
            models.BigIntegerField(
                db_default=Func(Value(NUMBERS), function="nextval"), editable=False, unique=True
            ),
        ),
        migrations.RunSQL(
            f"ALTER SEQUENCE {NUMBERS} OWNED BY {TABLE}.number",
            f"ALTER SEQUENCE {NUMBERS} OWNED BY NONE",
        ),
        migrations.AddField(
            "apikey",
            "scopes",
            django.contrib.postgres.fields.ArrayField(
                models.CharField(max_length=40),
                blank=True,
                db_default=[],
                default=list,
                size=None,
            ),
        ),
        migrations.AddField("apikey", "made_by", name_of_author()),
        migrations.AddField(
            "apikey",
            "maker",
            models.ForeignKey(
                db_index=False,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            "apikey",
            "made_with",
            models.ForeignKey(
                db_index=False,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="rest_framework_api_key.apikey",
                to_field="number",
            ),
        ),
        migrations.AddField(
            "apikey",
            "old_hashed_key",
            models.CharField(db_default="", editable=False, max_length=150),
        ),
        migrations.AddField(
            "apikey",
            "old_until",
            models.DateTimeField(editable=False, null=True, verbose_name="old secret good until"),
        ),
        migrations.AddField("apikey", "rotated_by", name_of_author()),
        migrations.AddField("apikey", "revoked_by", name_of_author()),
        migrations.AddField(
            "apikey",
            "last_used_at",
            models.DateTimeField(editable=False, null=True, verbose_name="last used"),
        ),
        migrations.AddConstraint(
            "apikey",
            models.CheckConstraint(
                condition=Q(old_hashed_key="") | Q(old_until__isnull=False),
                name="api_key_old_secret_ends",
            ),
        ),
    ]
