"""Decisions about one subscription's price: lock it, negotiate one, let it follow.

Each verb is one transaction. It locks as any writer does, first the row and then (in the trigger,
or here) its catalogue, and appends what it did to the ledger under its author's name. A verb
beyond the limits of its author (docs/decisions/0018) raises NeedsAnotherPerson, and nothing is
written; `price_decisions` plans it then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import F
from django.utils.timezone import is_aware
from django.utils.translation import gettext as _

from pricebook.kit.directions import turning
from pricebook.kit.figures import grouped
from pricebook.kit.refusal import Refusal
from services.bounds import LAST_DAY
from services.counted_moves import counted
from services.models import LedgerEntry, Subscription
from services.parsing import BadValue, money
from services.repricing import lock_ends
from services.repricing.writes import ledger_origin

State = Subscription.PriceState
FOLLOWS, LOCKED, NEGOTIATED = State.FOLLOWS, State.LOCKED, State.NEGOTIATED

LONGEST_REASON = 200
LONGEST_AUTHOR = 150


class PriceStateError(Refusal):
    """A verb that can't be done."""


def lock(subscription_id: int, until: datetime | None, reason: str, author: str) -> Subscription:
    """Keep a subscription's price in [now, `until`), or until it is released if that is None.

    The kept price is the one in force, whether a worker has copied it yet or not. A lock that
    exists gets this end and reason. `PriceStateError` for an end that is not in the future, a
    missing or too long reason, a subscription that has ended or is not there. Five queries.
    """
    check_text("reason", reason, LONGEST_REASON, required=True)
    check_text("author", author, LONGEST_AUTHOR)
    if until is not None:
        if not isinstance(until, datetime) or not is_aware(until):
            raise _bad_until(until, _("Give the lock's end as a time with its offset from UTC."))
        if until > LAST_DAY:
            raise _bad_until(
                until, _("A lock ends in year 9999 at the latest; or leave out its end.")
            )
    with _changing(subscription_id, author) as (subscription, now):
        if until is not None and until <= now:
            raise _bad_until(until, _("A lock's end has to be in the future."))
        return _write(subscription, price_state=LOCKED, locked_until=until, price_reason=reason)


def release(subscription_id: int, author: str) -> Subscription:
    """End a lock now: the subscription follows the catalogue again, at the rule's price.

    `PriceStateError` for one that is not locked, that has ended or is not there. Five queries.
    """
    check_text("author", author, LONGEST_AUTHOR)
    with _changing(subscription_id, author) as (subscription, _now):
        if subscription.price_state != LOCKED:
            raise PriceStateError(
                "not_locked",
                _(
                    "Subscription %(subscription_id)s is not locked, so there is nothing to"
                    " release: its price %(said)s."
                )
                % {"subscription_id": subscription_id, "said": _said(subscription)},
                409,
                price_state=subscription.price_state,
            )
        return _write(subscription, price_state=FOLLOWS, price=None)


def negotiate(
    subscription_id: int, price: Decimal | int | str, reason: str, author: str
) -> Subscription:
    """Give a subscription its own price from now on, in the deployment's currency, to the cent.

    `PriceStateError` for a price that is no number, negative, too high or finer than a cent, for
    a missing or too long reason, for a subscription that has ended or is not there. Five queries.
    """
    price = _checked_price(price)
    check_text("reason", reason, LONGEST_REASON, required=True)
    check_text("author", author, LONGEST_AUTHOR)
    with _changing(subscription_id, author) as (subscription, _now):
        return _write(
            subscription,
            price_state=NEGOTIATED,
            price=price,
            locked_until=None,
            price_reason=reason,
        )


def follow(subscription_id: int, author: str) -> Subscription:
    """Let a subscription follow the catalogue from now on, whatever its state was.

    `PriceStateError` for one that has ended or is not there. Five queries, three if it follows.
    """
    check_text("author", author, LONGEST_AUTHOR)
    with _changing(subscription_id, author) as (subscription, _now):
        if subscription.price_state == FOLLOWS:
            return subscription
        return _write(subscription, price_state=FOLLOWS, price=None)


def go_on_at(subscription_id: int, price: Decimal, reason: str, author: str) -> datetime:
    """Give a subscription a price from now on, as the rest of a correction, which counts the move.

    A locked one stays locked until its end, any other is negotiated. Returns the instant from which
    the price is in force. Six queries.
    """
    with _settled(subscription_id, author) as (subscription, _now):
        state = LOCKED if subscription.price_state == LOCKED else NEGOTIATED
        until = subscription.locked_until if state == LOCKED else None
        _write(
            subscription, price_state=state, price=price, locked_until=until, price_reason=reason
        )
        entries = LedgerEntry.objects.filter(subscription_id=subscription_id).order_by("-pk")
        return entries.values_list("effective_at", flat=True)[0]


# --- One row, its lock and its author -----------------------------------------------------------


@contextmanager
def _changing(subscription_id: int, author: str) -> Iterator[tuple[Subscription, datetime]]:
    """As `_settled`; what the block writes is counted as a move of this author."""
    with _settled(subscription_id, author) as (subscription, now), counted(subscription, author):
        yield subscription, now


@contextmanager
def _settled(subscription_id: int, author: str) -> Iterator[tuple[Subscription, datetime]]:
    """The subscription, locked, and the database's time; the block's entries have this author."""
    with transaction.atomic(), connection.cursor() as cursor:
        subscription = (
            Subscription.objects.select_for_update(no_key=True).filter(pk=subscription_id).first()
        )
        if subscription is None:
            raise PriceStateError(
                "unknown_subscription",
                _("There is no subscription %(subscription_id)s.")
                % {"subscription_id": subscription_id},
                404,
            )
        # Read after the lock, which may have taken time.
        cursor.execute(
            "SELECT book_clock(), keeps_late(book_clock()), listed_late() IS NOT NULL,"
            " set_config('pricebook.author', %s, true)",
            [author],
        )
        now, keeps_late, listed, _author = cursor.fetchone()
        if subscription.ended_at is not None and subscription.ended_at <= now:
            raise PriceStateError(
                "subscription_ended",
                _(
                    "Subscription %(subscription_id)s ended at %(isoformat)s; what it pays is"
                    " history."
                )
                % {
                    "subscription_id": subscription_id,
                    "isoformat": subscription.ended_at.isoformat(),
                },
                409,
            )
        if listed:
            _copy(subscription)
        if subscription.locked_until is not None and subscription.locked_until <= now:
            _release_ended_lock(subscription)
        elif keeps_late:
            _keep(subscription)
        yield subscription, now
        # The setting lasts as long as the transaction; an outer one that goes on has another
        # author.
        cursor.execute("SELECT set_config('pricebook.author', '', true)")


def _release_ended_lock(subscription: Subscription) -> None:
    """Release a lock that has ended, as the sweep would: since its end the subscription follows.

    Otherwise the new decision would hide what it paid in between.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT lock_pairs(%s::bigint[], %s::bigint[])",
            [[subscription.service_id], [subscription.plan_id]],
        )
    assert subscription.locked_until is not None
    lock_ends.follow_since(subscription.locked_until, [subscription.pk])
    subscription.refresh_from_db()


def _copy(subscription: Subscription) -> None:
    """Copy what a set says of a subscription, if its worker is on the way: a decision that agrees
    with what was stored before the set would say nothing.
    """
    with ledger_origin(writes_entries=True), connection.cursor() as cursor:
        cursor.execute("SELECT copy_listed(%s)", [[subscription.pk]])
    subscription.refresh_from_db()


def _keep(subscription: Subscription) -> None:
    """Keep the price of a subscription that a change for new subscriptions only has locked, as the
    worker would that has not come yet: a trigger writes the lock before anything else.
    """
    Subscription.objects.filter(pk=subscription.pk).update(price=F("price"))
    subscription.refresh_from_db()


def _write(subscription: Subscription, **values: Any) -> Subscription:
    # Not save(), which writes only what differs from what was loaded: all values must be written.
    Subscription.objects.filter(pk=subscription.pk).update(**values)
    # Triggers have changed it: a follower has the rule's price, no end and no reason.
    subscription.refresh_from_db()
    return subscription


def _said(subscription: Subscription) -> str:
    return (
        _("is negotiated") if subscription.price_state == NEGOTIATED else _("follows the catalogue")
    )


# --- Checks of the arguments --------------------------------------------------------------------


def _bad_until(until: object, detail: str) -> PriceStateError:
    value = until.isoformat() if isinstance(until, datetime) else str(until)[:100]
    return PriceStateError(
        "bad_until",
        _("%(detail)s This is %(value)s.") % {"detail": detail, "value": repr(value)},
        parameter="until",
    )


def check_text(name: str, text: str, longest: int, required: bool = False) -> None:
    def bad(detail: str) -> PriceStateError:
        return PriceStateError(f"bad_{name}", detail, parameter=name)

    if not isinstance(text, str):
        raise bad(_("The %(name)s has to be text.") % {"name": name})
    if required and not text.strip():
        raise bad(
            _("Give a %(name)s, in up to %(longest)s characters.")
            % {"name": name, "longest": longest}
        )
    if len(text) > longest:
        raise bad(
            _("The %(name)s has %(length)s characters; up to %(longest)s fit.")
            % {"name": name, "length": grouped(len(text)), "longest": longest}
        )
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise bad(_("The %(name)s has a character that no database can store.") % {"name": name})
    if character := turning(text):
        raise bad(
            _(
                "The %(name)s has a character %(character)s, which turns the direction of the text"
                " around it; take it out."
            )
            % {"name": name, "character": character}
        )


def _checked_price(given: Decimal | int | str) -> Decimal:
    def bad(detail: str) -> PriceStateError:
        return PriceStateError("bad_price", detail, parameter="price", value=str(given)[:100])

    if isinstance(given, float):
        raise bad(_("Give the price as a decimal number: a float is not exact."))
    try:
        return money("price", given)
    except BadValue as error:
        raise bad(error.detail) from None
