"""`manage.py logins`: log-ins whose names differ in the case of their letters alone."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from clients.logins import same_but_for_case


class Command(BaseCommand):
    help = (
        "Name the log-ins that are one name in different case, and exit with 1 if there are any;"
        " `doctor` asks it."
    )

    def handle(self, **options: Any) -> None:
        found = same_but_for_case()
        if found:
            named = "; ".join(" and ".join(map(repr, names)) for names in found)
            raise CommandError(
                f"log-ins that are one name in different case: {named}. Each works as it is"
                " written, and nobody gets in by another case: rename or delete all but one of each"
            )
        self.stdout.write("log-ins: one for each name, in any case of its letters")
