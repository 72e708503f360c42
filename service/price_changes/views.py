"""The API of price changes: plan, look, approve, watch, take back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.viewsets import ViewSet

from price_changes import verbs
from price_changes.bodies import (
    ApprovalSerializer,
    NewPriceChangeSerializer,
    RejectionSerializer,
    RevertSerializer,
)
from price_changes.errors import MovedSincePreview
from price_changes.kinds import values
from price_changes.models import PriceChange
from price_changes.notice_views import NoticeViews
from price_changes.planning import status_now
from price_changes.row_views import UNKNOWN, RowViews, change_of, known_id
from price_changes.running.dry_runs import DryRun
from price_changes.serializers import (
    OnePriceChangeSerializer,
    PriceChangePageSerializer,
    PriceChangeSerializer,
    RefusedApprovalSerializer,
)
from pricebook.kit import idempotency
from pricebook.kit.access import author, may_read
from pricebook.kit.content import object_of
from pricebook.kit.errors import Refused
from pricebook.kit.idempotency import idempotent
from pricebook.kit.scopes import APPROVE, PLAN, VIEW_CHANGE, VIEW_CLIENT
from pricebook.kit.snapshot import one_snapshot
from services import parsing
from services.moves import WaitingPlan
from services.parsing import BadValue
from services.reading import filter_kinds, parameters
from services.reading.newest_first import newest_first
from services.serializers import DryRunSerializer
from services.tasks import set_comment, set_price, wake
from services.views.moves import WaitingPlanSerializer, or_shown, shows, waits
from services.views.openapi import (
    CURSOR,
    ERRORS,
    LINK,
    PAGE_SIZE,
    PATH_ID,
    REFUSALS,
    Responses,
    errors,
)
from services.views.paging import cursor_of, link, links

REFUSED_APPROVAL = REFUSALS | errors(
    {409: "Not in this state, or not of the latest preview; or the figures have moved since."},
    RefusedApprovalSerializer,
)
DONE_OR_SHOWN = or_shown("PriceChangeOrShown", OnePriceChangeSerializer)
STATUSES, KINDS = PriceChange.Status.values, PriceChange.Kind.values
FILTERS: dict[str, tuple[str, Callable[[str, Any], Any], dict[str, Any]]] = {
    "status": (
        "status",
        lambda name, value: parsing.word(name, value, STATUSES),
        {"type": "string", "enum": STATUSES},
    ),
    "kind": (
        "kind",
        lambda name, value: parsing.word(name, value, KINDS),
        {"type": "string", "enum": KINDS},
    ),
    "service": ("service_id", parsing.identifier, filter_kinds.ID.schema),
    "plan": ("plan_id", parsing.identifier, filter_kinds.ID.schema),
    "needs_another": (
        "needs_another__gt",
        lambda name, value: parsing.word(name, value, ["true"]) and "",
        {"type": "string", "enum": ["true"]},
    ),
}


VERBS_OF_APPROVERS = (
    "approve",
    "reject",
    "accept",
    "keep_instant",
    "pause",
    "resume",
    "cancel",
    "revert",
)


def verb(
    body: type[Serializer] | None, refusals: Responses = REFUSALS, answers: Any = None
) -> Callable[[Any], Any]:
    """`POST /api/price-changes/{id}/<name>/`, once for each Idempotency-Key."""

    def decorated(method: Any) -> Any:
        described = extend_schema(
            parameters=[PATH_ID, idempotency.PARAMETER],
            request=body,
            responses={
                **(answers or {200: OnePriceChangeSerializer}),
                **ERRORS,
                **UNKNOWN,
                **refusals,
            },
        )
        return described(action(detail=True, methods=["post"])(idempotent(method)))

    return decorated


class PriceChangeView(RowViews, NoticeViews, ViewSet):
    """Decisions to move prices."""

    lookup_value_regex = "[0-9]+"
    needs = {
        **dict.fromkeys(("list", "retrieve"), ((VIEW_CHANGE,),)),
        **RowViews.needs_to_look,
        **NoticeViews.needs_of_notices,
        "create": ((PLAN,),),
        # The approver of a change that was held needs a new preview.
        "preview": ((PLAN, APPROVE),),
        **dict.fromkeys(VERBS_OF_APPROVERS, ((APPROVE,),)),
    }

    @extend_schema(
        operation_id="price_changes_list",
        parameters=[
            *[OpenApiParameter(name, schema) for name, (_, _, schema) in FILTERS.items()],
            CURSOR,
            PAGE_SIZE,
            LINK,
        ],
        responses={200: PriceChangePageSerializer, **ERRORS},
    )
    def list(self, request: Request) -> Response:
        """Price changes, newest first; plain edits of the catalogue are among them."""
        query = request.query_params
        parameters.refuse_unknown(query, [*FILTERS, *parameters.PAGING])
        # `reverts` decides about what is allowed.
        changes = PriceChange.objects.select_related("reverts")
        for name, (column, parse, _help) in FILTERS.items():
            if (value := parameters.value_of(query, name)) is not None:
                try:
                    changes = changes.filter(**{column: parse(name, value)})
                except BadValue as error:
                    raise parameters.bad_parameter(error) from None
        cursor, size = cursor_of(query), parameters.page_size(query)
        page, older, newer = newest_first(changes, cursor, size)
        status_now.refresh(page)
        next, previous = link(request, older), link(request, newer)
        return Response(
            {
                "result": PriceChangeSerializer(page, many=True).data,
                "next": next,
                "previous": previous,
            },
            headers=links(next, previous),
        )

    @extend_schema(
        operation_id="price_changes_retrieve",
        parameters=[PATH_ID],
        responses={200: OnePriceChangeSerializer, **ERRORS, **UNKNOWN},
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        """A price change with its preview, its progress and its outcome."""
        parameters.refuse_unknown(request.query_params, [])
        with one_snapshot():
            return answer(change_of(pk), request)

    @extend_schema(
        operation_id="price_changes_create",
        parameters=[idempotency.PARAMETER],
        request=NewPriceChangeSerializer,
        responses={201: OnePriceChangeSerializer, **ERRORS, **REFUSALS},
    )
    @idempotent
    def create(self, request: Request) -> Response:
        """Plan a change and preview it. Nothing moves before it is approved."""
        planned = verbs.plan(object_of(request.data), author(request.user))
        change = verbs.preview(planned.pk)
        return answer(change, request, 201)

    @verb(None)
    def preview(self, request: Request, pk: str) -> Response:
        """Count anew what a change would do. The fingerprint is new, even if no row has moved."""
        object_of(request.data, [])
        return answer(verbs.preview(known_id(pk)), request)

    @verb(ApprovalSerializer, REFUSED_APPROVAL, {200: DONE_OR_SHOWN})
    def approve(self, request: Request, pk: str) -> Response:
        """Approve a change as its latest preview shows it; it applies at its instant, or at once.

        It is counted again first. If the figures have moved since the preview, nothing is approved:
        the answer is 409 `moved_since_preview`, with the new preview and its fingerprint.
        """
        names = ["fingerprint", "when_moved", "effective_at", "time_zone", "dry_run"]
        given = object_of(request.data, names)
        if not isinstance(fingerprint := given.get("fingerprint"), str):
            raise Refused(
                "missing",
                _("Give the fingerprint of the preview that you approve, as text."),
                parameter="fingerprint",
            )
        if values.parse_flag("dry_run", given.get("dry_run", False)):
            asked = (known_id(pk), fingerprint, author(request.user), given.get("when_moved"))
            return shown_only(verbs.dry_run_of_approval(*asked))
        try:
            change = verbs.approve(
                known_id(pk),
                fingerprint,
                author(request.user),
                given.get("when_moved"),
                given.get("effective_at"),
                given.get("time_zone"),
            )
        except MovedSincePreview as error:
            return refused_approval(error, request)
        return moving(change, request)

    @verb(RejectionSerializer)
    def reject(self, request: Request, pk: str) -> Response:
        """End a change that is planned or held, with a reason; it is cancelled then."""
        given = object_of(request.data, ["reason"])
        change = verbs.reject(known_id(pk), author(request.user), given.get("reason"))
        return answer(change, request)

    @verb(None)
    def accept(self, request: Request, pk: str) -> Response:
        """Approve what an edit by SQL has moved beyond a limit; another person has to do that."""
        object_of(request.data, [])
        return answer(verbs.accept(known_id(pk), author(request.user)), request)

    @verb(None)
    def keep_instant(self, request: Request, pk: str) -> Response:
        """Keep a change's instant, though today's zone rules give its local time another one."""
        object_of(request.data, [])
        return answer(verbs.keep_instant(known_id(pk), author(request.user)), request)

    @verb(None)
    def pause(self, request: Request, pk: str) -> Response:
        """Leave the remaining rows of a change alone until it is resumed."""
        object_of(request.data, [])
        return answer(verbs.pause(known_id(pk), author(request.user)), request)

    @verb(None)
    def resume(self, request: Request, pk: str) -> Response:
        """Go on with a change that was paused."""
        object_of(request.data, [])
        return moving(verbs.resume(known_id(pk), author(request.user)), request)

    @verb(DryRunSerializer, answers={200: DONE_OR_SHOWN})
    def cancel(self, request: Request, pk: str) -> Response:
        """Cancel a change. Before its instant it does nothing; after it, it is taken back."""
        given = object_of(request.data, ["dry_run"])
        if values.parse_flag("dry_run", given.get("dry_run", False)):
            return shown_only(verbs.dry_run_of_cancel(known_id(pk), author(request.user)))
        return moving(verbs.cancel(known_id(pk), author(request.user)), request)

    @verb(RevertSerializer, answers={200: DONE_OR_SHOWN, 202: WaitingPlanSerializer})
    def revert(self, request: Request, pk: str) -> Response:
        """Plan the change that takes this one back; the answer is that change, with its preview."""
        given = object_of(request.data, ["approve", "dry_run"])
        approve = values.parse_flag("approve", given.get("approve", False))
        if values.parse_flag("dry_run", given.get("dry_run", False)):
            return shown_only(verbs.dry_run_of_revert(known_id(pk), author(request.user)))
        back = verbs.revert(known_id(pk), author(request.user), approve)
        if back.needs_another:
            return waits(WaitingPlan(back.pk, back.needs_another))
        return moving(back, request)


def answer(change: PriceChange, request: Request, status_code: int = 200) -> Response:
    status_now.refresh([change])
    return Response(shown(change, request), status=status_code)


def shown(change: PriceChange, request: Request) -> dict[str, Any]:
    """A change, with the clients that it moves most for a caller who may read clients."""
    names = may_read(request, VIEW_CLIENT)
    return dict(OnePriceChangeSerializer(change, context={"names_clients": names}).data)


def shown_only(dry_run: DryRun) -> Response:
    return shows(dry_run.rows, dry_run.moves, dry_run.before, dry_run.after, dry_run.needs_another)


def refused_approval(error: MovedSincePreview, request: Request) -> Response:
    """The refusal as an answer, and not raised, so that the new preview is committed."""
    assert error.change is not None  # an approval stores the new preview
    return Response(
        {
            "code": error.code,
            "detail": error.detail,
            **error.about,
            "change": shown(error.change, request),
        },
        status=error.status_code,
    )


def moving(change: PriceChange, request: Request) -> Response:
    """The answer; workers are woken after the commit."""
    transaction.on_commit(lambda: wake(set_price, set_comment), robust=True)
    return answer(change, request)
