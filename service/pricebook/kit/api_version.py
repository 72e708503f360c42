"""The version of the API: docs/api.md says what may change in it.

The first number stays as long as programs written for it go on to work; the second one rises with
what is added.
"""

VERSION = "1.1"
HEADER = "Pricebook-Api-Version"
PREFIX = "/api/"
