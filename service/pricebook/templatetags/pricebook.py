"""Template filters: those of `pricebook.kit.figures`, and `author`, which says who in words."""

from django import template

from pricebook.kit import authors, figures

register = template.Library()

for each in (
    figures.grouped,
    figures.money,
    figures.amount,
    figures.difference,
    figures.percent,
    figures.instant,
    figures.moment,
    figures.day,
    figures.item,
    figures.left,
):
    register.filter(each.__name__, each)

register.filter("author", authors.in_words)
