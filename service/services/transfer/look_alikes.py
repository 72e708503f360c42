"""The statements that find names of a file that differ from others in case or blanks alone.

The function `alike` says so. The database refuses such services and sources from everybody; here
each line is told which one is there. External ids are compared here alone.
"""

from __future__ import annotations

ALONE = "differs in case or blanks alone from"
SERVICES_ALIKE = f"""
SELECT line, 'service', name,
       format('{ALONE} service %L, of the book or an earlier line; write that', other)
  FROM (SELECT line, name, is_new,
               first_value(name) OVER (PARTITION BY alike(name) ORDER BY is_new, line) AS other
          FROM (SELECT line, name, is_new FROM incoming_service
                 UNION ALL
                SELECT NULL, name, false FROM services_service
                 WHERE alike(name) IN (SELECT alike(name) FROM incoming_service WHERE is_new)
               ) named) compared
 WHERE is_new AND name <> other
"""  # noqa: S608 - constants
SOURCES_ALIKE = f"""
WITH given AS (
    SELECT min(line) AS line, source FROM incoming WHERE source IS NOT NULL GROUP BY source
)
SELECT line, 'source', source,
       format('{ALONE} source %L, of the book or an earlier line; write that', other)
  FROM (SELECT line, source, coalesce(
               there.other, first_value(source) OVER (PARTITION BY alike(source) ORDER BY line)
               ) AS other
          FROM given
          LEFT JOIN sources_alike('services_subscription', ARRAY(SELECT source FROM given), 0, 0)
               there USING (source)) compared
 WHERE source <> other
"""  # noqa: S608 - constants
# Lines that are known, or have an id in a book, are two for certain. One of two that are alike has
# a capital, a blank or a letter beyond ASCII: a file without them need not be sorted.
IDS_ALIKE = f"""
SELECT line, 'external_id', external_id,
       format('{ALONE} %L on line %s; correct one of them, or say that they are two'
              ' (add=true; import_book: --add)', other,
              first)
  FROM (SELECT line, external_id,
               first_value(external_id) OVER same AS other, first_value(line) OVER same AS first
          FROM incoming
         WHERE source IS NOT NULL AND id IS NULL
           AND EXISTS (SELECT FROM incoming WHERE external_id COLLATE "C" ~ '[A-Z]|[^!-~]')
           AND NOT EXISTS (SELECT FROM known WHERE known.line = incoming.line)
        WINDOW same AS (PARTITION BY source, alike(external_id) ORDER BY line)) compared
 WHERE external_id <> other
"""  # noqa: S608 - constants
IDS_ALIKE_IN_BOOK = f"""
SELECT line, 'external_id', unknown.external_id,
       format('{ALONE} %L, of subscription %s; correct one of them, or say that they are two'
              ' (add=true; import_book: --add)',
              book.external_id, book.id)
  FROM unknown JOIN services_subscription book USING (source)
 WHERE alike(book.external_id) = alike(unknown.external_id) AND unknown.id IS NULL
   AND NOT EXISTS (SELECT FROM known WHERE known.line = unknown.line)
"""  # noqa: S608 - constants
