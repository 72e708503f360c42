"""The catalogues of translations: texts are found in Python and templates, and compiled by Babel.

No gettext has to be on the machine.
"""
