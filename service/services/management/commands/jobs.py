"""`manage jobs [NUMBER] [--lines [OUTCOME]] [--cancel | --undo]`; see docs/operating.md."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from pricebook.kit.exact_json import encode
from pricebook.kit.figures import grouped
from services import jobs
from services.jobs.results import OUTCOMES, shown
from services.jobs.results import lines as results_of
from services.management import arguments, question
from services.management.table import shown_instant, table
from services.models import Job
from services.tasks import run_jobs, wake


class Command(BaseCommand):
    help = (
        "List the jobs, the newest first; show one with its lines; cancel one, or take it back. "
        "The guide: docs/operating.md"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("number", type=arguments.number, nargs="?", help="that of a job")
        parser.add_argument("--limit", type=arguments.count, default=20)
        parser.add_argument(
            "--lines",
            nargs="?",
            const="",
            choices=OUTCOMES,
            help="its lines, or some of them",
        )
        parser.add_argument("--after", type=int, default=0, metavar="LINE")
        verbs = parser.add_mutually_exclusive_group()
        verbs.add_argument("--cancel", action="store_true", help="cancel it")
        verbs.add_argument(
            "--undo", action="store_true", help="take back what nobody has touched since"
        )
        question.add_to(parser, yes=False)
        arguments.add_author(parser)
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(
        self,
        *,
        number: int | None,
        cancel: bool,
        undo: bool,
        dry_run: bool,
        json: bool,
        author: str,
        lines: str | None,
        **options: Any,
    ) -> None:
        if number is None:
            if cancel or undo or dry_run or lines is not None:
                raise CommandError(_("Give the number of the job, too."))
            return self.tell([*Job.objects.for_api()[: options["limit"]]], json)
        if dry_run and not undo:
            raise CommandError(_("--dry-run goes with --undo."))
        try:
            if cancel:
                jobs.cancel(number)
            if undo:
                number = jobs.undo(number, arguments.author_of(author), dry_run).pk
                wake(run_jobs)
        except jobs.JobRefused as error:
            raise CommandError(f"{error.detail} ({error.code})") from None
        job = Job.objects.for_api().filter(pk=number).first()
        if job is None:
            raise CommandError(_("There is no job %(number)s. (not_found)") % {"number": number})
        if lines is None:
            return self.tell([job], json)
        for line in results_of(job, lines or None, options["after"], options["limit"]):
            self.stdout.write(encode(line).decode())

    def tell(self, found: list[Any], json: bool) -> None:
        if json:
            for job in found:
                self.stdout.write(encode(shown(job)).decode())
            return
        rows = [
            (
                str(job.pk),
                str(job.get_status_display()).lower(),
                str(job.get_kind_display()).lower()
                if job.undoes_id is None
                else _("undo of %(undoes_id)s") % {"undoes_id": job.undoes_id},
                _("%(done)s of %(total)s")
                % {
                    "done": grouped(job.lines_done),
                    "total": "?" if job.lines is None else grouped(job.lines),
                },
                ", ".join(
                    f"{grouped(each)} {_(outcome)}" for outcome, each in sorted(job.counts.items())
                ),
                shown_instant(job.asked_at),
                job.author,
            )
            for job in found
        ]
        head = ("", _("state"), _("what"), _("lines"), _("outcomes"), _("asked"), _("by"))
        for line in table("><<><<<", [head, *rows]):
            self.stdout.write(line)
        for job in found:
            if job.error is not None:
                self.stdout.write(
                    _("\nJob %(pk)s: %(error)s (%(error2)s)")
                    % {"pk": job.pk, "error": job.error["detail"], "error2": job.error["code"]}
                )
