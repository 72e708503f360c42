"""The schema of the API: what each answer and each body has, in OpenAPI 3.1.

`/api/schema/` has decimals that are numbers; `/api/schema/?decimals=string` describes the answers
to requests with that parameter, in which they are texts. Generators of clients read the second.
"""
