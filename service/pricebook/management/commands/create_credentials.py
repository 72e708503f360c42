"""`manage.py create_credentials`: the credentials that `./pricebook up` prints on its first run."""

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from keys import verbs
from keys.models import ApiKey
from keys.verbs import Maker
from pricebook.kit.scopes import READ_SCOPES

USER = "admin"
KEY_NAME = "local"


class Command(BaseCommand):
    help = (
        f"Gives the superuser {USER} the password from standard input, makes an API key that reads "
        "and prints it. An earlier password and earlier keys made here stop working."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--unless-superuser",
            action="store_true",
            help="do nothing in a database that has a superuser already",
        )

    def handle(self, *args: Any, unless_superuser: bool, **options: Any) -> None:
        users = get_user_model().objects
        if unless_superuser and users.filter(is_superuser=True, is_active=True).exists():
            return
        # On standard input, because anybody can read arguments with ps.
        if not (password := input().strip()):
            raise CommandError("Give the password on standard input.")
        with transaction.atomic():
            user, _ = users.get_or_create(username=USER)
            user.is_staff = user.is_superuser = user.is_active = True
            user.set_password(password)
            user.save()
            by = Maker.operator("create_credentials")
            for number in ApiKey.objects.filter(name=KEY_NAME, revoked=False).values_list(
                "number", flat=True
            ):
                verbs.revoke(number, by)
            _, key = verbs.make(KEY_NAME, READ_SCOPES, by)
        self.stdout.write(key)
