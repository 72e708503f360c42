"""The site with one more page of the desk: a small form that keeps what was typed."""

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template import engines
from django.urls import path

from desk.page import desk_page
from pricebook.urls import handler400, handler403, handler404, handler500, urlpatterns

__all__ = ["handler400", "handler403", "handler404", "handler500"]

PAGE = """{% extends "desk/base.html" %}{% block main %}
{% if done %}<p data-done="thought">Sent.</p>{% endif %}
<form method="post" class="form" data-keep="thought">{% csrf_token %}
{% include "desk/parts/keep.html" %}
<p class="field"><label for="note">Note</label><input id="note" name="note"></p>
<p class="field"><label for="kinds">Kinds</label><select id="kinds" name="kinds" multiple>
<option value="a">A</option><option value="b">B</option><option value="c">C</option></select></p>
<button class="button">Send</button>
</form>{% endblock %}"""

sent: list[str] = []


@desk_page()
def page(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        sent.append(request.POST["note"])
        return HttpResponseRedirect("?done")
    content = engines["django"].from_string(PAGE)
    said = {"title": "A thought", "done": "done" in request.GET}
    return HttpResponse(content.render(said, request))


urlpatterns = [path("kept/", page), *urlpatterns]
