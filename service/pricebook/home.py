"""The page at the root: what the book adds up to, what is moving, where to go."""

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from services.models import Repricing
from services.repricing import progress
from services.total import total_amount

SHOWN = 10  # repricings


@never_cache
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Figures are for staff; everyone else sees where to log in. Three queries, for staff."""
    context = {"flower_url": settings.FLOWER_URL}
    if may_see_figures(request.user):
        due = Repricing.objects.due().select_related("service", "plan").prefetch_related("steps")
        context |= {
            "total": total_amount(),
            "repricings": [
                {"repricing": repricing, "progress": progress(repricing)}
                for repricing in due.order_by("id")[:SHOWN]
            ],
        }
    return render(request, "pricebook/home.html", context)


def may_see_figures(user: User | AnonymousUser) -> bool:
    return user.is_active and user.is_staff
