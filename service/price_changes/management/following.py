"""How the command `price_change` follows a change until it is applied, or applies it itself."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NoReturn

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from price_changes.errors import ChangeError
from price_changes.models import PriceChange
from price_changes.planning import status_now
from price_changes.showing.states import state_of
from services import repricing
from services.management.progress import ProgressLine
from services.management.table import shown_instant
from services.models import Repricing, book_clock
from services.tasks import set_comment, set_price, wake

Status = PriceChange.Status
UNDER_WAY = (Status.SCHEDULED, Status.APPLYING)
QUIET = 10.0  # seconds without progress, after which a watcher is told what may be wrong


class Following(BaseCommand, ABC):
    """A mixin of the command: `--wait` and `watch`."""

    @abstractmethod
    def tell(self, change: PriceChange, json: bool, preview: bool = False) -> None:
        """Print the change as it stands."""

    def note(self, text: str) -> None:
        self.stderr.write(text)

    def go_on(self, change: PriceChange, wait: bool, json: bool) -> None:
        """Wake the workers for a change that is due; or apply it here, with `wait`."""
        if wait:
            self.follow(change, _work, json)
        else:
            wake(set_price, set_comment)
            self.tell(change, json)

    def follow(self, change: PriceChange, work: Callable[[], None], json: bool) -> None:
        """Show progress until a change is applied; CommandError (status 1) if it ends otherwise."""
        show = ProgressLine(self.stderr)
        try:
            self.until_it_ends(change, work, show)
        except KeyboardInterrupt:
            show.end()
            self.interrupted(change)
        show.end()
        change = change_of(change.pk)
        self.tell(change, json)
        if change.status in (Status.HELD, Status.PAUSED, Status.CANCELLED):
            remark = f" {change.remark}" if change.remark else ""
            raise CommandError(
                _("Price change %(pk)s is %(status)s.%(remark)s")
                % {"pk": change.pk, "status": state_of(change.status), "remark": remark}
            )

    def until_it_ends(
        self, change: PriceChange, work: Callable[[], None], show: ProgressLine
    ) -> None:
        waiting_said = False
        seen, seen_at = -1, time.monotonic()
        while change.status in UNDER_WAY:
            assert change.effective_at is not None
            left = (change.effective_at - book_clock()).total_seconds()
            if change.status == Status.SCHEDULED and left > 0:
                if not waiting_said:
                    waiting_said = True
                    self.note(
                        _(
                            "Price change %(number)s is scheduled for %(at)s; waiting for it."
                            " Ctrl-C leaves it scheduled."
                        )
                        % {"number": change.pk, "at": shown_instant(change.effective_at)}
                    )
                time.sleep(min(left, 0.5))
            else:
                work()
                done, rows = _progress(change)
                show(f"{state_of(change.status)}:", done, rows)
                if done != seen:
                    seen, seen_at = done, time.monotonic()
                elif time.monotonic() - seen_at > QUIET:
                    seen_at = time.monotonic()
                    self.note(
                        _("Nothing moves. The workers are those of ./pricebook up: do they run?")
                    )
            change.refresh_from_db()

    def interrupted(self, change: PriceChange) -> NoReturn:
        change.refresh_from_db()
        if change.status == Status.SCHEDULED:
            text = _(
                "Price change %(number)s stays scheduled for %(at)s; the workers of ./pricebook up"
                " go on with it."
            )
        else:
            text = _(
                "Price change %(number)s is %(state)s; the workers of ./pricebook up go on with it."
            )
        raise CommandError(
            text
            % {
                "number": change.pk,
                "at": shown_instant(change.effective_at),
                "state": state_of(change.status),
            },
            returncode=130,
        ) from None


def change_of(number: int) -> PriceChange:
    change = PriceChange.objects.filter(pk=number).first()
    if change is None:
        raise ChangeError(
            "not_found", _("There is no price change %(number)s.") % {"number": number}, 404
        )
    status_now.refresh([change])
    return change


def _work() -> None:
    """Work on all that is due for a moment, short enough to show progress in between."""
    if not repricing.reprice(0.3) + repricing.stamp(0.3):
        time.sleep(0.1)  # nothing to do here: workers have the rest in hand


def _progress(change: PriceChange) -> tuple[int, int]:
    works = Repricing.objects.filter(change_id=change.pk).prefetch_related("steps")
    found = [repricing.progress(work) for work in works]
    return sum(each.done for each in found), sum(each.total for each in found)
