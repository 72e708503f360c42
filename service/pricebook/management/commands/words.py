"""Bring the catalogues of translations in line with the texts of the code, and compile them.

./pricebook manage words            # writes django.po and django.mo; then translate, and again
./pricebook manage words --check    # writes nothing; exits with 1 where something is missing
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError

from pricebook.words import catalogues


class Command(BaseCommand):
    help = (__doc__ or "").splitlines()[0]
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument(
            "--check", action="store_true", help="write nothing, tell what is missing"
        )

    def handle(self, check: bool, **options: Any) -> None:
        missing, stale = 0, []
        for app in [settings.BASE_DIR / name for name in catalogues.APPS]:
            for language in catalogues.LANGUAGES:
                catalogue = catalogues.brought_in_line(app, language)
                if not len(catalogue):
                    continue
                path = catalogues.path_of(app, language)
                for text in (untranslated := catalogues.untranslated(catalogue)):
                    self.stdout.write(f"{app.name} {language}: {text!r} has no translation")
                missing += len(untranslated)
                po, mo = catalogues.as_po(catalogue), catalogues.as_mo(catalogue)
                for file, content in ((path, po), (path.with_suffix(".mo"), mo)):
                    if file.exists() and file.read_bytes() == content:
                        continue
                    stale.append(str(file.relative_to(settings.BASE_DIR)))
                    if not check:
                        file.parent.mkdir(parents=True, exist_ok=True)
                        file.write_bytes(content)
        if not check:
            for name in stale:
                self.stdout.write(f"wrote {name}")
        if missing or (check and stale):
            told = f"{missing} texts have no translation" if missing else "all texts are translated"
            if check and stale:
                told += f"; not in line with the code: {', '.join(stale)}. Run: manage words"
            raise CommandError(f"{told}.")
