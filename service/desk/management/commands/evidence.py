"""`manage evidence --month 2026-10 evidence.xlsx`: what moved the total, and who decided it."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from desk.then.evidence import evidence_of
from desk.then.moments import BadMoment, Month
from pricebook.kit.refusal import Refusal
from services.transfer.sheets.table import MOST_ROWS, Limits


class Command(BaseCommand):
    help = (
        "Write a month's evidence as a workbook: the total at both ends and the bridge between"
        " them, price changes with who planned and approved them, catalogue edits, decisions about"
        " one subscription, corrections, the brake, imports and jobs, the places of the feed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--month", required=True, help="as 2026-10")
        parser.add_argument("file", help="the workbook to write (.xlsx); not one that is there")

    def handle(self, *, month: str, file: str, **options: Any) -> None:
        path = Path(file)
        if path.suffix.lower() != ".xlsx":
            raise CommandError(f"{file} is no name of a workbook: let it end in .xlsx.")
        if path.exists():
            raise CommandError(f"{file} is there already; give another name.")
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with part.open("xb") as target:
                written = evidence_of(Month.parse(month)).write(target, Limits(MOST_ROWS))
            part.rename(path)
        except (BadMoment, ValueError) as error:
            raise CommandError(str(error)) from None
        except Refusal as error:
            raise CommandError(error.detail) from None
        except OSError as error:
            raise CommandError(f"{file} can't be written: {error.strerror or error}.") from None
        finally:
            part.unlink(missing_ok=True)
        self.stdout.write(f"{file}: {len(written)} sheets, {sum(w.rows for w in written):,} rows.")
