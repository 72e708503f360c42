"""Template filters that format figures: those of `pricebook.kit.figures`."""

from django import template

from pricebook.kit import figures

register = template.Library()

for each in (
    figures.grouped,
    figures.money,
    figures.amount,
    figures.difference,
    figures.percent,
    figures.instant,
    figures.day,
    figures.item,
    figures.left,
):
    register.filter(each.__name__, each)
