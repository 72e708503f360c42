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
        faults, stale = 0, []
        for language in catalogues.LANGUAGES:
            made = []
            for app in [settings.BASE_DIR / name for name in catalogues.APPS]:
                try:
                    catalogue = catalogues.brought_in_line(app, language)
                except catalogues.NotAText as error:
                    raise CommandError(f"{app.name}: {error}.") from None
                path = catalogues.path_of(app, language)
                if not len(catalogue) and not path.exists():
                    continue
                made.append(catalogue)
                faults += self.tell(app.name, language, catalogue)
                po, mo = catalogues.as_po(catalogue), catalogues.as_mo(catalogue)
                for file, content in ((path, po), (path.with_suffix(".mo"), mo)):
                    if file.exists() and file.read_bytes() == content:
                        continue
                    stale.append(str(file.relative_to(settings.BASE_DIR)))
                    if not check:
                        file.parent.mkdir(parents=True, exist_ok=True)
                        file.write_bytes(content)
            for text in (contradictions := catalogues.contradictions(made)):
                self.stdout.write(f"{language}: {text!r} has two translations, in two apps")
            faults += len(contradictions)
        if not check:
            for name in stale:
                self.stdout.write(f"wrote {name}")
        if faults or (check and stale):
            told = f"{faults} texts need a look" if faults else "all texts are translated"
            if check and stale:
                told += f"; not in line with the code: {', '.join(stale)}. Run: manage words"
            raise CommandError(f"{told}.")

    def tell(self, app: str, language: str, catalogue: Any) -> int:
        """Print the texts of a catalogue that are not translated, or wrongly; how many they are."""
        untranslated = catalogues.untranslated(catalogue)
        misplaced = catalogues.misplaced(catalogue)
        for text in untranslated:
            self.stdout.write(f"{app} {language}: {text!r} has no translation")
        for text in misplaced:
            self.stdout.write(f"{app} {language}: {text!r} has other places for values than that")
        return len(untranslated) + len(misplaced)
